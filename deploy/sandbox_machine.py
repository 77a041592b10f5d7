"""A copy of this machine that is gone at the end: packages are installed on it, daemons run, logins happen.

As root only. The whole machine lies read-only below an overlay in memory that takes every change, in mount and process
namespaces of its own; the network is the machine's. When the first process ends, the kernel ends all others.
"""

import contextlib
import os
import subprocess
from pathlib import Path

SETUP = """
mount -t tmpfs -o mode=0755 none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" none "$1/root"
mount -t proc none "$1/root/proc"
mount --rbind /dev "$1/root/dev"
# As at every start of a machine; /tmp as well, because what lies there now belongs to other people.
mount -t tmpfs -o mode=0755 none "$1/root/run"
mount -t tmpfs -o mode=1777 none "$1/root/tmp"
mkdir -m 0755 "$1/root/run/sshd"
echo ready
exec sleep infinity
"""
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}


class Machine:
    """Use as a context; `directory` is an empty one that nobody needs afterwards."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._enter: list[str] = []
        self._first: subprocess.Popen[str] | None = None
        self._spawned: list[subprocess.Popen[bytes]] = []

    def __enter__(self):
        """Start it.

        Raises:
            RuntimeError: this account or this kernel may not

        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._first = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "sh", "-euc", SETUP,
             "sh", self.directory], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._first.stdout
        if self._first.stdout.readline() != "ready\n":
            said = self._first.communicate()[1]
            raise RuntimeError(f"a machine of one's own cannot be made here: {said.strip()}")
        child = Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children").read_text().split()[0]
        self._enter = ["nsenter", "-t", child, "-m", "-p"]
        return self

    def __exit__(self, *_: object) -> None:
        if self._first is not None:
            self._first.kill()  # unshare; --kill-child takes the rest along
            self._first.communicate()
        for process in self._spawned:
            process.wait(60)
        with contextlib.suppress(OSError):
            self.directory.rmdir()

    def command(self, *words: str | Path) -> list[str]:
        """Return the command line that runs `words` in there as root."""
        return [*self._enter, "chroot", f"{self.directory}/root", *map(str, words)]

    def sh(self, script: str, *arguments: str | Path, timeout: float = 300) -> "subprocess.CompletedProcess[str]":
        """Run a piece of shell in there; its two outputs come as one, in `stdout`."""
        return subprocess.run(
            self.command("sh", "-euc", script, "sh", *arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False, env=ENVIRONMENT, cwd="/",
        )  # fmt: skip

    def spawn(self, log: Path, *words: str | Path) -> "subprocess.Popen[bytes]":
        """Start a daemon in there; what it says goes to `log`, outside."""
        with log.open("ab") as out:
            process = subprocess.Popen(
                self.command(*words), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=ENVIRONMENT, cwd="/"
            )
        self._spawned.append(process)
        return process

    def put(self, path: Path) -> str:
        """Copy a file into the machine's /root; return its path there."""
        target = f"/root/{path.name}"
        script = 'cat >"$1"'
        subprocess.run(
            self.command("sh", "-euc", script, "sh", target),
            input=path.read_bytes(),
            check=True,
            timeout=300,
            env=ENVIRONMENT,
        )
        return target

    def changes(self) -> list[str]:
        """Return every file and directory that was added or changed, sorted; not what lies in /run and /tmp."""
        found = subprocess.run(
            [*self._enter, "find", self.directory / "upper", "-mindepth", "1", "!", "-type", "c", "-printf", "/%P\\n"],
            capture_output=True, text=True, check=True, timeout=300, env={**os.environ, **ENVIRONMENT},
        )  # fmt: skip
        return sorted(found.stdout.splitlines())
