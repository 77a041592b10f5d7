"""What a test with a real sshd needs beside deploy/sandbox_sshd.py: a CA, and certificates that ssh-keygen makes."""

import subprocess
from pathlib import Path


def keygen(*arguments: str | Path) -> None:
    """Run ssh-keygen quietly."""
    subprocess.run(["ssh-keygen", "-q", *arguments], check=True, stdin=subprocess.DEVNULL)


class Authority:
    """A CA in a directory."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self.directory = directory
        self.key = directory / name
        keygen("-t", "ed25519", "-N", "", "-C", name, "-f", self.key)

    @property
    def lines(self) -> str:
        """For TrustedUserCAKeys."""
        return Path(f"{self.key}.pub").read_text()

    def issue(self, name: str, *principals: str, serial: int = 7, validity: str = "-1m:+1h") -> tuple[Path, Path]:
        """Make a key and its certificate; return both paths."""
        key = self.directory / name
        keygen("-t", "ed25519", "-N", "", "-C", name, "-f", key)
        keygen("-s", self.key, "-I", f"v1;{name}", "-n", ",".join(principals), "-z", str(serial), "-V", validity,
               Path(f"{key}.pub"))  # fmt: skip
        return key, Path(f"{key}-cert.pub")
