"""Archives that are the same bytes each time: names sorted, root's, one time for all."""

import gzip
import io
import tarfile
from pathlib import PurePosixPath

from deploy.build_host import HostFile


def directories(files: list[HostFile]) -> list[str]:
    """Return every directory that leads to the files, parents first, without the root."""
    found = {str(parent) for file in files for parent in PurePosixPath(file.target).parents}
    return sorted(found - {"/"})


def tarred(files: list[HostFile], epoch: int, top: str = ".") -> bytes:
    """Return a tar archive of the files and their directories, below `top`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("", *directories(files)):
            archive.addfile(_entry(f"{top}{name}" if name else top, epoch, 0o755, tarfile.DIRTYPE))
        for file in files:
            entry = _entry(top + file.target, epoch, file.mode, tarfile.REGTYPE)
            entry.size = len(file.content)
            archive.addfile(entry, io.BytesIO(file.content))
    return out.getvalue()


def gzipped(content: bytes) -> bytes:
    """Compress without a time or a name in the header."""
    return gzip.compress(content, 9, mtime=0)


def _entry(name: str, epoch: int, mode: int, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mtime, entry.mode, entry.type = epoch, mode, kind
    entry.uname = entry.gname = "root"
    return entry
