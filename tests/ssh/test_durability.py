"""E-02: the commit is on the disk before the answer leaves."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.ssh.conftest import new_key
from tests.ssh.service import People, Service

ANSWERS = 20


def test_E_02_the_commit_reaches_the_disk_before_the_answer(passing_path, tmp_path):
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "-qq", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("strace is missing or may not trace here")
    service = Service(passing_path / "data")  # whose files are synced as on a disk
    service.init()
    service.start()
    try:
        people = People(service, "alice")
        people.furnish()
        key = new_key(tmp_path, "id").public
        trace = tmp_path / "trace"
        calls = "trace=fdatasync,fsync,sendto,write,writev,sendmsg"
        tracer = subprocess.Popen(
            [strace, "-f", "-qq", "-s", "48", "-e", calls, "-o", trace, "-p", str(service.process.pid)],
            stderr=subprocess.DEVNULL,
        )
        issued = []
        while _seen(trace).count('"HTTP/1.1 201') < ANSWERS:
            assert len(issued) < 1000, "nothing is traced"
            issued.append(people.issue(key))
        tracer.terminate()
        tracer.wait(60)
    finally:
        service.stop()
    assert {answer.status for answer in issued} == {201}
    synced = False
    answers = 0
    for line in _seen(trace).splitlines():
        if re.search(r"\bf(data)?sync\(", line) or re.search(r"f(data)?sync resumed", line):
            synced = synced or "= 0" in line
        elif '"HTTP/1.1 201' in line:
            assert synced, f"an answer left before its commit was on the disk: {line}"
            answers += 1
            synced = False
    assert answers >= ANSWERS, f"{answers} answers were seen in the trace"


def _seen(trace: Path) -> str:
    """Return the trace from its first sync on: what was done while strace took hold of one thread after another is not."""
    text = trace.read_text() if trace.exists() else ""
    first = re.search(r"^.*\bf(data)?sync\(", text, re.MULTILINE)
    return text[first.start() :] if first else ""
