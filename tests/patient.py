"""What hosts run, with all the time in the world: a machine that stands still for seconds refuses nobody for that.

How long a host's programs wait is in host.conf where an administrator may choose, and else beside the code that waits.
Here are the latter, written anew in a copy of the tree. What comes of a time that is over has tests of its own: they
take the tree as it is shipped, or `set_time`.
"""

import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from deploy.build_host import stage

LIBRARY = "lib/tms-host"
LONGEST = "30"  # the most that timeout_seconds takes
FOR_A_CROWD = "110"  # a patient tree takes more
SECONDS = 120.0
TIMES = {
    "keycmd/admin/daemon.py": ("SECONDS",),
    "keycmd/admin/service.py": ("SECONDS",),
    "keycmd/admin/sshd_lines.py": ("SSHD_SECONDS",),
    "keycmd/config.py": ("LONGEST_TIMEOUT",),
    "keycmd/doctor/daemon.py": ("SECONDS",),
    "keycmd/doctor/helper.py": ("SLOW_SECONDS", "BUDGET_SECONDS"),
    "keycmd/doctor/running.py": ("COMMAND_SECONDS", "CHECK_SECONDS"),
    "keycmd/doctor/service.py": ("SECONDS", "SLOW_SECONDS"),
    "keycmd/hostcert.py": ("CHECK_SECONDS",),
    "keycmd/hostd/announce.py": ("OPEN_SECONDS",),
    "keycmd/hostd/listen.py": ("LINE_SECONDS",),
    "keycmd/hostd/report.py": ("VERSION_SECONDS",),
    "keycmd/quick.py": ("GRACE_SECONDS", "LONGEST_SECONDS"),
    "keycmd/session.py": ("SECONDS",),
    "keycmd/trustfile.py": ("VERIFY_SECONDS",),
    "principals_cmd/main.py": ("GRACE_SECONDS",),
}


def set_time(library: Path, module: str, name: str, seconds: float) -> None:
    """Let one module of a staged library have another time."""
    path = library / module
    text, count = re.subn(rf"^{name} = [0-9.]+", f"{name} = {seconds}", path.read_text(), flags=re.MULTILINE)
    assert count == 1, (module, name)
    path.write_text(text)
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()


def be_patient(library: Path) -> None:
    """Let a staged library wait for two minutes wherever it waits."""
    for module, names in TIMES.items():
        for name in names:
            set_time(library, module, name, SECONDS)


def compile_(library: Path, python: str = "/usr/bin/python3") -> None:
    """Compile a library as a package's scripts do; by content, because it will be copied."""
    by = ["--invalidation-mode", "unchecked-hash"] if python == "/usr/bin/python3" else []
    subprocess.run([python, "-I", "-m", "compileall", "-q", *by, library], check=True)


def stage_patiently(where: Path, prefix: str) -> Path:
    """Put the tree of a host, compiled, into the directory `where`, made to run at `prefix`; return `where`."""
    original = Path(_staged())
    shutil.copytree(original, where, dirs_exist_ok=True)
    for path in _naming_their_place():
        mode, text = (original / path).stat().st_mode, (original / path).read_bytes()
        (where / path).write_bytes(text.replace(str(original).encode(), prefix.encode()))
        (where / path).chmod(mode)
        for compiled in (where / path).parent.glob(f"__pycache__/{path.stem}.*"):
            compiled.unlink()
    return where


@cache
def _staged() -> str:
    """Stage a tree once in a process: to write and compile it anew takes longer than most tests."""
    made = tempfile.TemporaryDirectory(prefix="tms-patient-")
    _KEPT.append(made)
    prefix = stage(Path("/"), f"{made.name}/usr")
    be_patient(prefix / LIBRARY)
    compile_(prefix / LIBRARY)
    return str(prefix)


@cache
def _naming_their_place() -> list[Path]:
    """Return the files that name the prefix they are made for."""
    prefix = Path(_staged())
    found = [path for path in prefix.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return [path.relative_to(prefix) for path in found if str(prefix).encode() in path.read_bytes()]


_KEPT: list["tempfile.TemporaryDirectory[str]"] = []  # until the process ends
