"""What /proc tells about the processes of sessions.

A process is a pid and its start time: a pid alone is given out again.
"""

import os

SSHD_NAMES = ("sshd", "sshd-session")  # the second from OpenSSH 9.8 on
_MOST_ABOVE = 64
_PTS_MAJORS = range(136, 144)


class Process:
    """One process as it was when it was looked at; `start` is in clock ticks after boot, `tty` a device number or 0."""

    __slots__ = ("name", "parent", "pid", "start", "tty")

    def __init__(self, pid, name, parent, tty, start):
        self.pid = pid
        self.name = name
        self.parent = parent
        self.tty = tty
        self.start = start


def look(pid):
    """Return the Process of a pid; None where there is none, or only what is left of one that ended."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            text = file.read(4096)
        # The name may hold blanks and brackets: it ends at the last bracket.
        head, _, tail = text.rpartition(b") ")
        words = tail.split()
        if words[0] in (b"Z", b"X"):
            return None
        name = head.partition(b" (")[2].decode("ascii", "replace")
        return Process(pid, name, int(words[1]), int(words[4]), words[19].decode("ascii"))
    except (OSError, IndexError, ValueError):
        return None


def is_same(pid, start):
    """Tell whether a pid is still the process that started then."""
    found = look(pid)
    return found is not None and found.start == start


def everyone():
    """Return {pid: Process} of all processes that this one can see."""
    found = (look(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in found if process is not None}


def descendants(pid, table):
    """Return the processes below a pid, its children first."""
    children = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    found, waiting = [], [pid]
    while waiting:
        below = children.pop(waiting.pop(0), [])
        found += below
        waiting += [process.pid for process in below]
    return found


def sshd_above(pid):
    """Return the pid of the nearest sshd above a process, None where there is none.

    The nearest, because the connection's process of root stands above that of the user: a login has one name only.
    """
    for _ in range(_MOST_ABOVE):
        process = look(pid)
        if process is None or process.name in SSHD_NAMES:
            return None if process is None else process.pid
        pid = process.parent
    return None


def is_session_of_sshd(pid):
    """Tell whether a process is an sshd that holds a connection.

    A name alone is whatever a process calls itself. But nobody except sshd makes a process whose parent belongs to
    root and is an sshd.
    """
    process = look(pid)
    if process is None or process.name not in SSHD_NAMES:
        return False
    parent = look(process.parent)
    return parent is not None and parent.name in SSHD_NAMES and owner(parent.pid) == 0


def owner(pid):
    """Return the real uid of a process; who owns its directory in /proc says less."""
    try:
        with open("/proc/%d/status" % pid, "rb") as file:
            for line in file:
                if line.startswith(b"Uid:"):
                    return int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return None


def terminals(processes):
    """Return the paths of the pseudo-terminals that processes have, each once."""
    paths = []
    for process in processes:
        # As the kernel packs it (new_encode_dev): minor 0-7, major 8-19, the rest of the minor.
        major, minor = (process.tty >> 8) & 0xFFF, (process.tty & 0xFF) | ((process.tty >> 12) & 0xFFF00)
        if major in _PTS_MAJORS:
            path = "/dev/pts/%d" % (minor + ((major - 136) << 20))
            if path not in paths:
                paths.append(path)
    return paths
