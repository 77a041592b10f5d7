"""What still has to be said to the service, in order, on disk: it outlives the daemon and a service that is away."""

import contextlib
import json
import os

from keycmd import files
from keycmd.hostd.journal import ERROR, log

MOST = 10000
_MOST_BYTES = 131072


class Outbox:
    """Messages, each a JSON object in a file of its own; the oldest is sent first."""

    def __init__(self, directory, most=MOST):
        """Take over what an earlier daemon left.

        Raises:
            OSError, FilesError: the directory cannot be made or read
        """
        self.directory = directory
        self.most = most
        files.make_directory(directory, 0o700)
        files.sweep(directory)
        self._waiting = sorted(int(name) for name in os.listdir(directory) if name.isdigit())
        self._next = self._waiting[-1] + 1 if self._waiting else 1

    def __len__(self):
        return len(self._waiting)

    def put(self, message):
        """Add a message; on return it is on the disk.

        Raises:
            FilesError: it could not be written
        """
        while len(self._waiting) >= self.most:
            log(ERROR, "sessions: more than %d messages wait for the service; the oldest is dropped" % self.most)
            self.drop(self._waiting[0])
        number, self._next = self._next, self._next + 1
        write(self._path(number), message)
        self._waiting.append(number)

    def first(self):
        """Return (number, message) of the oldest that can be read, or None."""
        while self._waiting:
            number = self._waiting[0]
            message = load(self._path(number))
            if message is not None:
                return number, message
            log(ERROR, "sessions: %s cannot be read and is dropped" % self._path(number))
            self.drop(number)
        return None

    def drop(self, number):
        """Forget a message."""
        if number in self._waiting:
            self._waiting.remove(number)
        forget(self._path(number))

    def _path(self, number):
        return os.path.join(self.directory, "%012d" % number)


def write(path, value):
    """Replace a file by JSON, whole and on the disk.

    Raises:
        FilesError: the old one is still there
    """
    files.write(path, json.dumps(value, sort_keys=True).encode("ascii"), 0o600)


def load(path):
    """Return the JSON object in a file; None where there is none that can be read."""
    try:
        value = json.loads((files.read(path, _MOST_BYTES) or b"").decode("ascii"))
    except (files.FilesError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def forget(path):
    """Remove a file; one that is gone already is no error."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
