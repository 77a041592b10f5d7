"""Who could change a file: the file and every directory above it, as sshd judges its commands."""

import os
import pwd
import stat


class Part:
    """What is wrong with a path: the part of it, and the command that mends it."""

    def __init__(self, path, said, mend):
        self.path = path
        self.said = said
        self.mend = mend


def unsafe_part(path, uids):
    """Return the first Part that someone other than `uids` could change, from the file upwards, or None.

    Links are followed first, as sshd does. A path that is not there is judged by the directory that it would be in.
    """
    current = os.path.realpath(path)
    while not os.path.lexists(current):
        current = os.path.dirname(current)
    while True:
        status = os.stat(current)
        if status.st_uid not in uids:
            said = "%s belongs to %s" % (current, user_name(status.st_uid))
            return Part(current, said, "chown root %s" % current)
        if status.st_mode & 0o022:
            said = "%s has mode %04o" % (current, stat.S_IMODE(status.st_mode))
            return Part(current, said, "chmod go-w %s" % current)
        if current == "/":
            return None
        current = os.path.dirname(current)


def user_name(uid):
    """Return a user's name, or `uid N`."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "uid %d" % uid
