"""Which plain keys the service has let in here: the session hook announces the logins with these, and no others.

A note is an empty file named after the key's SHA-256, whatever account it was for: the name that PAM has of an account
need not be the one that sshd asked with. Its time is that of the last yes. Notes are not synced to the disk: a machine
that goes down takes its connections with it. A daemon that is killed does not, and its notes stay.
"""

import binascii
import contextlib
import os
import threading
import time

from keycmd import files
from keycmd.session import NOTES

KEPT_SECONDS = 86400.0  # a login follows its last question within LoginGraceTime, two minutes as a rule
SWEEP_SECONDS = 3600.0


class KeyNotes:
    """The notes of one daemon."""

    def __init__(self, state_dir):
        """Make their directory.

        Raises:
            FilesError: it cannot be made
        """
        self._directory = os.path.join(state_dir, NOTES)
        self._lock = threading.Lock()  # so that no note is swept away in the moment in which it is renewed
        files.make_directory(self._directory, 0o700)

    def note(self, fingerprint):
        """Note that the service has let in the key of this SHA256:... fingerprint.

        Raises:
            OSError: it could not be noted
        """
        digest = binascii.a2b_base64(fingerprint.partition(":")[2] + "=")
        path = os.path.join(self._directory, binascii.b2a_hex(digest).decode("ascii"))
        with self._lock:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.utime(descriptor)
            finally:
                os.close(descriptor)

    def sweep(self):
        """Remove the notes of keys that were last let in long ago.

        Raises:
            OSError: the directory cannot be read
        """
        before = time.time() - KEPT_SECONDS
        for name in os.listdir(self._directory):
            path = os.path.join(self._directory, name)
            with self._lock, contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_mtime < before:
                    os.unlink(path)
