"""`make demo`, as it is run by a newcomer; nothing of it stays, however it ends."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve.load import until

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, str(ROOT / "deploy/demo.py")]


def processes_of(session: int, directory: str) -> list[str]:
    """Find what is left of a demo: in its session, or with its directory in the arguments or the environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended, or is another user's
            continue
        if fields[0] != "Z" and (int(fields[3]) == session or directory.encode() in words):
            found.append(f"{path.name} {words[:200]!r}")
    return found


def nothing_left(session: int, output: str) -> None:
    directory = re.search(r"build/demo-\w+", output)[0]
    assert not (ROOT / directory).exists()
    # What the kernel has been told to end with its namespace may take a moment more than the demo itself.
    until(lambda: processes_of(session, str(ROOT / directory)) == [], 60, "a process is left")


def start(**more) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        COMMAND, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=as_at_a_terminal, **more,
    )  # fmt: skip


def as_at_a_terminal() -> None:
    """Ignore no signal: who started the tests in the background does, and the demo would take that for nohup."""
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_DFL)


def test_the_demo_tells_its_story_and_leaves_nothing_behind(tmp_path):
    accounts = Path("/etc/passwd").read_bytes(), Path("/etc/group").read_bytes()
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    demo = start(env={**os.environ, "HOME": str(home), "TMPDIR": str(temporary)})
    output, errors = demo.communicate(timeout=600)
    assert demo.returncode == 0, output + errors
    for sentence in ("delegation_missing", "I am ", "Permission denied", "REVOKED", "every chain holds"):
        assert sentence in output, sentence
    numbers = [int(number) for number in re.findall(r"^ ?(\d+)\. ", output, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert "\033" not in output, "no colours where there is no terminal"
    nothing_left(demo.pid, output)
    assert (Path("/etc/passwd").read_bytes(), Path("/etc/group").read_bytes()) == accounts
    assert list(home.iterdir()) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("ending", "after"), [(signal.SIGINT, " 2."), (signal.SIGHUP, " 4."), (signal.SIGTERM, " 8.")])
def test_the_demo_that_is_ended_leaves_nothing_behind(ending, after):
    demo = start()
    seen = ""
    while not (line := demo.stdout.readline()).startswith(after):
        assert line, seen + demo.stderr.read()
        seen += line
    os.killpg(demo.pid, ending)  # as a terminal does: to everything that it started as well
    output, errors = demo.communicate(timeout=300)
    assert demo.returncode == 128 + ending, errors
    assert "stopped" in errors
    nothing_left(demo.pid, seen + line + output)


def test_the_demo_fails_when_a_revocation_has_no_effect(tmp_path):
    """The same demo with a service that forgets what was revoked: it must not be content."""
    shutil.copytree(ROOT / "tms_ca", tmp_path / "tms_ca")
    policy = tmp_path / "tms_ca/core/policy.py"
    source = policy.read_text()
    assert source.count("if issued.revoked:") == 1
    policy.write_text(source.replace("if issued.revoked:", "if issued.revoked and False:"))
    # Nor does its KRL name anything: on a slow machine the daemon may have fetched one before the demo tries the door.
    krl = tmp_path / "tms_ca/services/krl.py"
    source = krl.read_text()
    krl.write_text(re.sub(r"(def _list\(book: KrlBook, batch: krls.Batch\) -> None:\n)", r"\1    return\n", source))
    assert krl.read_text() != source
    demo = start(env={**os.environ, "PYTHONPATH": str(tmp_path)})
    output, errors = demo.communicate(timeout=600)
    assert demo.returncode == 1, output
    assert "the demo FAILED: a REVOKED certificate opened a session" in errors
    nothing_left(demo.pid, output)


def test_the_demo_is_in_colour_on_a_terminal():
    """Only its first lines: then the terminal is closed, and nothing stays."""
    primary, secondary = pty.openpty()
    demo = subprocess.Popen(
        COMMAND, stdin=secondary, stdout=secondary, stderr=secondary, start_new_session=True,
        env={name: value for name, value in os.environ.items() if name != "NO_COLOR"},
    )  # fmt: skip
    os.close(secondary)
    seen = b""
    while b" 3. " not in seen:
        seen += os.read(primary, 4096)
    os.close(primary)  # its next line cannot be written
    assert demo.wait(300) != 0
    assert b"\033[1m" in seen
    nothing_left(demo.pid, seen.decode())
