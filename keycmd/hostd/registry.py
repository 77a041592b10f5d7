"""The sessions that are open on this host, in memory and on disk: a daemon that starts anew knows them."""

import os

from keycmd import files
from keycmd.hostd import outbox, processes
from keycmd.hostd.journal import ERROR, log
from keycmd.session import Doubt, login_id

_HEX = frozenset("0123456789abcdef")
_FIELDS = {"account": str, "certificate": str, "login_id": str, "process": int, "start": str, "started_at": str}


class Session:
    """One login whose session is open: `process` is the sshd that holds its connection, which began at `start`.

    `ended_here` is whether this daemon has begun to end it.
    """

    __slots__ = ("account", "certificate", "command", "ended_here", "login_id", "process", "start", "started_at")

    def __init__(self, fields):
        self.login_id = fields["login_id"]
        self.account = fields["account"]
        self.certificate = fields["certificate"]  # "TYPE BASE64"; of a plain key where there is no certificate
        self.process = fields["process"]
        self.start = fields["start"]
        self.started_at = fields["started_at"]
        self.command = fields.get("command")  # that the service forces on every session of this connection, or None
        self.ended_here = False

    def fields(self):
        """Return what stands on the disk."""
        return dict({name: getattr(self, name) for name in _FIELDS}, command=self.command)

    def is_there(self):
        """Tell whether its sshd still runs: this process, not another that was given its pid."""
        return processes.is_same(self.process, self.start)


class Registry:
    """The open sessions by login id."""

    def __init__(self, directory):
        """Read what an earlier daemon left.

        Raises:
            OSError, FilesError: the directory cannot be made or read
        """
        self.directory = directory
        self.sessions = {}
        files.make_directory(directory, 0o700)
        files.sweep(directory)
        for name in os.listdir(directory):
            if len(name) == 32 and _HEX.issuperset(name):
                self._take_over(name)

    def _take_over(self, name):
        fields = outbox.load(self._path(name)) or {}
        if all(isinstance(fields.get(key), kind) for key, kind in _FIELDS.items()) and fields["login_id"] == name:
            self.sessions[name] = Session(fields)
            if not _is_of_this_boot(self.sessions[name]):
                self.sessions[name].start = ""  # as no process: its record is closed at the first look
        else:
            log(ERROR, "sessions: %s cannot be read and is forgotten" % self._path(name))
            outbox.forget(self._path(name))

    def save(self, session):
        """Bring a session to the disk; it counts as open once it was added.

        Raises:
            FilesError: it could not be written
        """
        outbox.write(self._path(session.login_id), session.fields())

    def add(self, session):
        """Count it as open."""
        self.sessions[session.login_id] = session

    def remove(self, session):
        """Forget it."""
        self.sessions.pop(session.login_id, None)
        outbox.forget(self._path(session.login_id))

    def gone(self):
        """Return the sessions whose sshd does not run any more."""
        return [session for session in list(self.sessions.values()) if not session.is_there()]

    def _path(self, name):
        return os.path.join(self.directory, name)


def _is_of_this_boot(session):
    try:
        return login_id(session.process) == session.login_id
    except Doubt:
        return False
