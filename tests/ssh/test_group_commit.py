"""E-02 with many clients at once: requests share a commit, and none is answered by a commit that began before it."""

import re
import subprocess
import threading
import time

import pytest

from tests.serve.load import until
from tests.ssh.conftest import new_key
from tests.ssh.service import People, Service
from tests.ssh.test_kill9 import overloaded

CLIENTS, EACH = 8, 6
_LINE = re.compile(r"(?P<pid>\d+) +(?P<rest>.*)")


def trace_of(service: Service, path, work) -> list[str]:
    """Run `work` while strace watches every thread of the service; -y names the file behind each descriptor."""
    calls = "trace=fdatasync,fsync,read,recvfrom,recvmsg,sendto,write,writev,sendmsg"
    tracer = subprocess.Popen(
        ["strace", "-f", "-y", "-s", "64", "-e", calls, "-o", path, "-p", str(service.process.pid)],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = tracer.stderr.readline()  # "strace: Process N attached with 12 threads"
        if "attached" not in line:
            pytest.skip(f"ptrace is not permitted here: {line.strip()}")
        work()
    finally:
        tracer.terminate()
        tracer.communicate(timeout=60)
    return path.read_text().splitlines()


def read_trace(lines: list[str]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the line numbers of (begin, end) of each sync of the database, and of (arrival, answer) of each 201."""
    pending: dict[str, tuple[int, str]] = {}
    arrived: dict[str, int] = {}
    syncs, answers = [], []
    for number, text in enumerate(lines):
        found = _LINE.match(text)
        pid, rest = found["pid"], found["rest"]
        begun = number
        if rest.endswith("<unfinished ...>"):
            pending[pid] = number, rest
            continue
        if rest.startswith("<... "):
            begun, opening = pending.pop(pid, (number, ""))
            rest = opening + rest
        call = re.match(r"(\w+)\((?:\d+)<([^>]*)>?", rest)
        if call is None:
            continue
        name, target = call[1], call[2]
        if name in {"fdatasync", "fsync"} and "tms.db-wal" in target and "= 0" in rest:
            syncs.append((begun, number))
        elif "POST /api/v1/tenants/default/certificates" in rest and name.startswith(("read", "recv")):
            arrived[target] = number
        elif "HTTP/1.1 201" in rest:
            answers.append((arrived.pop(target), begun))
    return syncs, answers


def test_E_02_many_at_once_each_answer_waits_for_a_commit_that_began_after_its_request(passing_path, tmp_path):
    service = Service(passing_path / "data")  # whose files are synced as on a disk
    service.init()
    service.start()
    try:
        people = People(service, "alice")
        people.furnish()
        key = new_key(tmp_path, "id").public
        statuses: list[int] = []

        def work() -> None:
            def ask() -> None:
                for _ in range(EACH):
                    while overloaded((answer := people.issue(key)).status, answer.body):
                        time.sleep(0.02)
                    statuses.append(answer.status)

            threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(180)
            until(lambda: trace.read_text().count("HTTP/1.1 201") >= len(statuses), 60, "an answer is not in the trace")

        trace = tmp_path / "trace"
        lines = trace_of(service, trace, work)
    finally:
        service.stop()
    assert statuses == [201] * (CLIENTS * EACH)
    syncs, answers = read_trace(lines)
    assert len(answers) == CLIENTS * EACH
    for arrival, answer in answers:
        assert any(arrival < begun and ended < answer for begun, ended in syncs), (
            "an answer left before a commit that began after its request was on the disk",
            lines[arrival : answer + 1],
        )
    print(f"{len(answers)} answers, {len(syncs)} syncs of the write-ahead log")
