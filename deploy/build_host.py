"""Put what a host gets into a directory, as an installation would: the one list is deploy/host/files.toml.

`stage` is what the packages, the demo and the tests are made of. The same sources give the same bytes and modes,
whatever the umask and the time.
"""

import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "deploy/host/files.toml"
KINDS = ("program", "library", "text", "conffile")
# Paths of an installation under /usr, as they stand in the sources.
OURS = ("/usr/lib/tms-host", "/usr/libexec/tms", "/usr/sbin/tms-host", "/usr/share/tms-host")


@dataclass(frozen=True)
class HostFile:
    """One file of a host: where it goes (absolute), its mode, its kind and what is in it."""

    target: str
    mode: int
    kind: str
    content: bytes


def etc_of(prefix: str) -> str:
    """Return the directory of configuration that belongs to a prefix."""
    return "/etc" if prefix == "/usr" else f"{prefix}/etc"


def host_files(prefix: str = "/usr") -> list[HostFile]:
    """Return every file of a host, in the order of their targets."""
    if not prefix.startswith("/") or prefix.endswith("/"):
        raise ValueError(f"the prefix is {prefix!r}, expected an absolute path without a slash at its end")
    files = []
    for entry in tomllib.loads(LIST.read_text())["file"]:
        if entry["kind"] not in KINDS:
            raise ValueError(f"{LIST}: {entry['target']}: kind is {entry['kind']!r}, expected one of {KINDS}")
        target = entry["target"].replace("PREFIX", prefix).replace("ETC", etc_of(prefix))
        source = ROOT / entry["source"]
        found = sorted(source.rglob("*.py")) if source.is_dir() else [source]
        for path in found:
            name = f"{target}/{path.relative_to(source)}" if source.is_dir() else target
            files.append(HostFile(name, int(entry["mode"], 8), entry["kind"], _moved(path.read_bytes(), prefix)))
    return sorted(files, key=lambda file: file.target)


def stage(root: Path, prefix: str = "/usr") -> Path:
    """Write the tree of a host under `root`; return `root` with `prefix`.

    The programs find their library at `prefix`, without `root`: a tree that shall run where it lies needs
    `stage(Path("/"), prefix=str(directory))`.
    """
    for file in host_files(prefix):
        path = root / file.target.lstrip("/")
        _make_directories(path.parent)
        path.write_bytes(file.content)
        path.chmod(file.mode)
    return root / prefix.lstrip("/")


def _moved(content: bytes, prefix: str) -> bytes:
    for path in OURS:
        content = content.replace(path.encode(), path.replace("/usr", prefix, 1).encode())
    return content


def _make_directories(path: Path) -> None:
    """Make what is missing of a path, with mode 0755 whatever the umask."""
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    for directory in reversed(missing):
        directory.mkdir()
        directory.chmod(0o755)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 deploy/build_host.py DIRECTORY    (emptied first; the tree is made to run in it)")
    directory = Path(sys.argv[1]).resolve()
    if (directory / "lib/tms-host").exists():
        for name in ("lib", "libexec", "sbin", "share", "etc"):
            shutil.rmtree(directory / name, ignore_errors=True)
    print(stage(Path("/"), str(directory)))
