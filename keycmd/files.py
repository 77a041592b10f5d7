"""Files that are whole or as they were: several are made ready first, then each takes its place in one step.

sshd reads these files in the middle of logins, and a power cut or a full disk may come at any moment. So nothing is
ever written in place: a new file is complete and on the disk before it has the old one's name.
"""

import binascii
import contextlib
import os
import stat

READABLE = 0o644
SECRET = 0o400
_UNFINISHED = ".tms-new-"
_OWNER = -1  # as in os.fchown: leave it


class FilesError(Exception):
    """A file could not be written; the text names it and says what stays as it was."""


class NewFiles:
    """New contents for several files, none of which is in place before `put_in_place`.

    Use it with `with`: what was made ready and not put in place is removed at the end.
    """

    def __init__(self):
        self._ready = []  # (temporary path, final path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for temporary, _ in self._ready:
            _remove_quietly(temporary)
        self._ready = []

    def add(self, path, content, mode=READABLE, uid=_OWNER, gid=_OWNER):
        """Write `content` (bytes) to the disk beside `path`; return where it waits.

        Raises:
            FilesError: no room, no right, no directory
        """
        directory, name = os.path.split(path)
        waiting = os.path.join(directory, _UNFINISHED + binascii.b2a_hex(os.urandom(8)).decode("ascii") + "-" + name)
        try:
            # O_EXCL takes no file and no link that somebody has laid there.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(waiting, flags, SECRET)
            self._ready.append((waiting, path))
            try:
                left = memoryview(content)
                while left:
                    left = left[os.write(descriptor, left) :]
                if (uid, gid) != (_OWNER, _OWNER):
                    os.fchown(descriptor, uid, gid)
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise FilesError("cannot write %s: %s; the file is as it was" % (path, error.strerror)) from error
        return waiting

    def put_in_place(self):
        """Give each file its name, in the order in which they were added; a reader sees the old or the new one.

        Raises:
            FilesError: a name could not be given; the text says which files are new already
        """
        done = []
        for waiting, path in self._ready:
            try:
                os.rename(waiting, path)
            except OSError as error:
                new = ", ".join(done) or "none"
                text = "cannot rename to %s: %s; new already: %s" % (path, error.strerror, new)
                raise FilesError(text) from error
            done.append(path)
        directories = []
        for path in done:
            if os.path.dirname(path) not in directories:
                directories.append(os.path.dirname(path))
        self._ready = []
        for directory in directories:
            sync_directory(directory)


def write(path, content, mode=READABLE, uid=_OWNER, gid=_OWNER):
    """Replace one file.

    Raises:
        FilesError: the old one is still there
    """
    with NewFiles() as new:
        new.add(path, content, mode, uid, gid)
        new.put_in_place()


def read(path, most_bytes):
    """Return the bytes of a plain file, or None where none is.

    Raises:
        FilesError: it is there and cannot be read, is something else than a file, or is longer than `most_bytes`
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FilesError("cannot read %s: %s" % (path, error.strerror)) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > most_bytes:
        os.close(descriptor)
        raise FilesError("%s is not a plain file of at most %d bytes" % (path, most_bytes))
    with open(descriptor, "rb") as file:
        return file.read(most_bytes)


def make_directory(path, mode=0o755, uid=_OWNER, gid=_OWNER):
    """Make a directory where none is, with those above it; one that is there is left alone.

    Raises:
        FilesError: it cannot be made, or something else has its name: a link, too, unless only root can have laid it
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            os.close(open_directory(path))
            return
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        os.mkdir(path, mode)
        descriptor = open_directory(path)
        try:
            os.fchmod(descriptor, mode)  # whatever the umask took
            if (uid, gid) != (_OWNER, _OWNER):
                os.fchown(descriptor, uid, gid)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise FilesError("cannot make the directory %s: %s" % (path, error.strerror)) from error


def open_directory(path):
    """Return a descriptor of a directory, which stays the same one whatever becomes of its name.

    A link in its place is followed only where nobody but root could have laid it. Root works in directories of
    tms-host, who could otherwise have it write and delete anywhere.

    Raises:
        OSError: there is none, or something else has its name
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    above = os.stat(os.path.dirname(os.path.abspath(path)))
    if above.st_uid != 0 or above.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        flags |= os.O_NOFOLLOW
    return os.open(path, flags)


def sweep(directory):
    """Remove what a process that was killed has left unfinished in `directory`."""
    try:
        names = os.listdir(directory)
    except OSError:
        return
    for name in names:
        if name.startswith(_UNFINISHED):
            _remove_quietly(os.path.join(directory, name))


def sync_directory(directory):
    """Bring a directory's names to the disk; where the file system cannot, the names are there all the same."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    with contextlib.suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)


def _remove_quietly(path):
    with contextlib.suppress(OSError):
        os.unlink(path)
