"""`make demo`, as it is run by a newcomer; nothing of it stays."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _left_behind() -> set[str]:
    names = {str(path) for path in (ROOT / "build").glob("demo-*")}
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return names | {line for line in processes.splitlines() if "build/demo-" in line}


def test_the_demo_tells_its_story_and_leaves_nothing_behind():
    before, accounts = _left_behind(), Path("/etc/passwd").read_text()
    done = subprocess.run(
        [sys.executable, ROOT / "deploy/demo.py"], capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for sentence in ("delegation_missing", "I am ", "Permission denied", "REVOKED", "every chain holds"):
        assert sentence in done.stdout, sentence
    assert "\033" not in done.stdout, "no colours where there is no terminal"
    assert _left_behind() <= before
    assert Path("/etc/passwd").read_text() == accounts
