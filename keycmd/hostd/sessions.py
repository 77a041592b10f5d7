"""Real logins: each session is announced to the service before it begins, watched while it lasts, and closed."""

import asyncio
import contextlib
import os
import pwd
import socket
from concurrent.futures import ThreadPoolExecutor

from keycmd.files import FilesError
from keycmd.hostd import ending, processes
from keycmd.hostd.announce import Announcer, as_object, rfc3339
from keycmd.hostd.journal import ERROR, INFO, NOTICE, WARNING, log
from keycmd.hostd.listen import failed, no, yes
from keycmd.hostd.outbox import Outbox
from keycmd.hostd.registry import Registry, Session
from keycmd.keylines import KEY_TYPES, fingerprint_of
from keycmd.service import Question, Refused, ServiceError, valid_account
from keycmd.session import Doubt, login_id

WATCH_SECONDS = 1.0  # between two looks at the processes of the open sessions
MOST_IDS = 1700  # that the service takes in one report
CLOSED, ENDED, LOST = "closed", "ended", "lost"  # why a session is over: by its user, by the service, unknown


class Sessions:
    """What session.sock is asked, and the jobs behind it."""

    def __init__(self, daemon):
        """Read what an earlier daemon left.

        Raises:
            OSError, FilesError: there is no place for it
        """
        self._daemon = daemon
        spool = os.path.join(daemon.config.state_dir, "spool", "sessions")
        # One thread: the disk may be slow, but never out of order, and a login elsewhere does not wait for it.
        self._disk = ThreadPoolExecutor(1)
        self.registry = Registry(os.path.join(spool, "open"))
        self.outbox = Outbox(os.path.join(spool, "out"))
        self.announcer = Announcer(daemon, self.outbox, self._disk)
        self._ends = {}  # login id -> the task that ends it
        self._unsaved = set()
        self._opening = {}  # login id -> how many ask for it now
        self._now = asyncio.Event()
        self._named = True  # whether the service may believe that sessions are open here

    async def open(self, words, peer):
        """LOGIN_ID ACCOUNT PID RHOST TYPE CERTIFICATE-OR-KEY: yes where this session may begin."""
        about = "account=%s" % (words[1][:32] if len(words) > 1 else "?")
        try:
            session, address = await self._checked(words, peer)
            about = "account=%s from=%s login=%s" % (session.account, address or "-", session.login_id)
            known = self.registry.sessions.get(session.login_id)
            if known is not None and (known.certificate, known.account) != (session.certificate, session.account):
                raise ServiceError("this connection is open by another certificate or key already")
            command = await self._begin(session, address, known)
        except Refused as refusal:
            log(NOTICE, "refused session %s code=%s" % (about, refusal))
            return no(refusal)
        except (ServiceError, FilesError) as error:
            log(ERROR, "failed session %s reason=%s" % (about, error))
            return failed(error)
        log(INFO, "opened session %s" % about)
        return yes() if command is None else yes([command])

    async def _begin(self, session, address, known):
        """Ask the service, and keep the session; return the command that is forced, or None."""
        name = session.login_id
        self._opening[name] = self._opening.get(name, 0) + 1
        try:
            command = await self.announcer.permission(session, address)
            if known is not None:
                # One login may have several sessions (ControlMaster): what the first was forced to, all are.
                return known.command if command is None else command
            session.command = command
            self.registry.add(session)
            await self._save(session)
            return command
        finally:
            self._opening[name] -= 1
            if not self._opening[name]:
                del self._opening[name]

    async def _save(self, session):
        """Bring a session to the disk, for the next daemon; `watch` tries again.

        A full disk refuses nobody to whom the service has said yes, least of all whoever comes to mend it.
        """
        if self.registry.sessions.get(session.login_id) is not session:
            return  # it ended meanwhile
        try:
            await asyncio.get_event_loop().run_in_executor(self._disk, self.registry.save, session)
            self._unsaved.discard(session)
        except FilesError as error:
            if session not in self._unsaved:
                log(ERROR, "a restart of this daemon would forget login=%s reason=%s" % (session.login_id, error))
            self._unsaved.add(session)

    async def _checked(self, words, peer):
        """Return the Session that is asked for and its address, or None.

        Raises:
            ServiceError: it is not for this peer to ask, or not about a connection of sshd
        """
        mode = self._daemon.config.sessions
        if mode == "off":
            raise ServiceError("sessions = off in host.conf: set pam or wrapper, or take tms-session out of sshd")
        if len(words) != 6:
            raise ServiceError("expected LOGIN_ID ACCOUNT PID RHOST TYPE CERTIFICATE-OR-KEY")
        name, account, pid, address, kind, text = words
        used = _plain_key(mode, account, kind, text) if kind in KEY_TYPES else Question(account, kind, text).certificate
        if not pid.isdigit() or len(pid) > 9:
            raise ServiceError("expected a pid, not %s" % pid[:20])
        process = processes.look(int(pid))
        try:
            if process is None or process.name not in processes.SSHD_NAMES or login_id(process.pid) != name:
                raise ServiceError("process %s is not the sshd of this login" % pid)
        except Doubt as error:
            raise ServiceError(str(error)) from error
        if peer.uid != 0:
            await _check_user(mode, account, process.pid, peer)
        fields = {"login_id": name, "account": account, "certificate": used, "process": process.pid,
                  "start": process.start, "started_at": rfc3339()}  # fmt: skip
        return Session(fields), address if _is_address(address) else None

    async def close(self, words, peer):
        """LOGIN_ID: this session has ended; only root's hook can know."""
        if peer.uid != 0 or len(words) != 1:
            raise ServiceError("expected LOGIN_ID, from root")
        session = self.registry.sessions.get(words[0])
        if session is None:
            raise Refused("login_unknown")
        await self._ended(session, CLOSED)
        return yes()

    async def watch(self):
        """Close the records of sessions whose sshd is gone without a word."""
        loop = asyncio.get_event_loop()
        while True:
            for session in await loop.run_in_executor(None, self.registry.gone):
                # A wrapper does not say that it ended; with PAM, sshd itself was killed, or a daemon was not there.
                await self._ended(session, CLOSED if self._daemon.config.sessions == "wrapper" else LOST)
            for session in list(self._unsaved):
                await self._save(session)
            await asyncio.sleep(WATCH_SECONDS)

    async def _ended(self, session, reason):
        """Close the record of a session, once."""
        if self.registry.sessions.pop(session.login_id, None) is None:
            return
        self._unsaved.discard(session)
        reason = ENDED if session.ended_here else reason
        log(INFO, "closed session account=%s login=%s reason=%s" % (session.account, session.login_id, reason))
        try:
            await self.announcer.ended(session, reason)
            await asyncio.get_event_loop().run_in_executor(self._disk, self.registry.remove, session)
        except (FilesError, OSError) as error:
            # Its file stays, so that the next daemon closes it; the service closes it with the next report.
            log(ERROR, "cannot keep the end of login=%s: %s" % (session.login_id, error))

    async def report(self):
        """Say which sessions are open, and end those that must not be."""
        while True:
            self._now.clear()
            config = self._daemon.config
            # With those that are being asked for: the service may have them on record already.
            ids = sorted({*self.registry.sessions, *self._opening})
            if config.sessions != "off" and (ids or self._named):
                try:
                    await self._report(config.node, ids)
                except ServiceError as error:
                    log(WARNING, "sessions were not reported: %s" % error)
            shown = {"mode": config.sessions, "open": len(self.registry.sessions), "waiting": len(self.outbox)}
            self._daemon.state["sessions"] = shown
            await self._now.wait()

    async def tick(self):
        """Have it reported every report_seconds, and when the configuration was read again."""
        while True:
            await self._daemon.pause(self._daemon.config.report_seconds)
            self._now.set()

    async def _report(self, node, ids):
        listed = {}
        for first in range(0, max(1, len(ids)), MOST_IDS):
            body = {"node": node, "open": ids[first : first + MOST_IDS], "complete": len(ids) <= MOST_IDS}
            status, answer = await self.announcer.call("sessions", body)
            if status != 200:
                raise ServiceError("the service answered %d" % status)
            for entry in as_object(answer).get("end", []):
                if entry.get("login_id") in self.registry.sessions:
                    listed[entry["login_id"]] = entry
        self._named = bool(ids)
        for name, entry in listed.items():
            if name not in self._ends:
                self._end(self.registry.sessions[name], entry)
        for name, task in list(self._ends.items()):
            session = self.registry.sessions.get(name)
            if name not in listed and session is not None and not session.ended_here:
                task.cancel()
                log(NOTICE, "login=%s need not end any more" % name)

    def _end(self, session, entry):
        ended = ending.end(session, str(entry["reason"])[:64], str(entry["message"]), float(entry["after_seconds"]))
        task = asyncio.ensure_future(ended)
        self._ends[session.login_id] = task
        task.add_done_callback(lambda task: self._end_is_over(session.login_id, task))

    def _end_is_over(self, name, task):
        self._ends.pop(name, None)
        if not task.cancelled() and task.exception() is not None:
            log(ERROR, "ending login=%s failed reason=%s" % (name, task.exception()))

    def wake(self):
        """Report at once: what changed may end sessions."""
        self._now.set()


def _is_address(text):
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, text)
            return True
    return False


def _plain_key(mode, account, kind, text):
    """Return the plain key that the hook saw, as the service is told of it.

    Raises:
        ServiceError: none, or told by somebody who may make it up
    """
    if mode != "pam":
        # The wrapper runs as the user, who could take the uses of any key that is known.
        raise ServiceError("sessions = %s in host.conf: only PAM's hook announces logins with plain keys" % mode)
    if not valid_account(account):
        raise ServiceError("the account's name is not one that the service knows")
    if fingerprint_of(kind, text) is None:
        raise ServiceError("not a key of the type that it is said to be")
    return "%s %s" % (kind, text)


async def _check_user(mode, account, pid, peer):
    """Let the forced wrapper speak for its own connection only.

    Raises:
        ServiceError: this peer may not ask
    """
    if mode != "wrapper":
        raise ServiceError("sessions = %s in host.conf: only root's hook may ask" % mode)
    try:
        # In a thread: the account may come from a directory server.
        entry = await asyncio.get_event_loop().run_in_executor(None, pwd.getpwnam, account)
    except KeyError as error:
        raise ServiceError("no such account: %s" % account) from error
    if entry.pw_uid != peer.uid:
        raise ServiceError("uid %d is not account %s" % (peer.uid, account))
    if processes.sshd_above(peer.pid) != pid or not processes.is_session_of_sshd(pid):
        raise ServiceError("process %d is not the sshd above process %d" % (pid, peer.pid))


def register(daemon):
    """Take the questions of the session hooks.

    Raises:
        OSError: there is no place for what has to be kept
    """
    try:
        sessions = Sessions(daemon)
    except FilesError as error:
        raise OSError(str(error)) from error
    daemon.sessions = sessions
    daemon.session.handlers["open"] = sessions.open
    daemon.session.handlers["close"] = sessions.close
    daemon.jobs += [sessions.watch, sessions.announcer.send, sessions.report, sessions.tick]
