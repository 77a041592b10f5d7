"""The daemon's Unix sockets: one question a connection, one line in, an answer, the end.

A handler is a coroutine function that gets the words behind the first one and the Peer, and returns the answer's
lines (`yes`, `no` and `failed` make them). Whoever connects is named by the kernel, not by what they say.
"""

import asyncio
import contextlib
import os
import socket
import struct

from keycmd.hostd.journal import ERROR, WARNING, log, printable
from keycmd.service import Refused, ServiceError

MOST_LINE_BYTES = 81920  # a certificate has up to 65,536 characters
# Connections at once. Root and the daemon's own user have no limit: they are sshd's hook and the helpers.
MOST_CONNECTIONS = 1024  # of all other users together
MOST_OF_ONE_USER = 256  # of one of them
MOST_SILENT = 32  # of one of them, that have not asked after SILENT_SECONDS
SILENT_SECONDS = 0.25  # many logins at once are accepted at once, and read one after the other
LOG_SECONDS = 60.0  # between two lines about one user's connections that were refused
BACKLOG = 1024
LINE_SECONDS = 2.0  # for a line to arrive, and for an answer to be taken
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


class Peer:
    """Who is on the line."""

    __slots__ = ("pid", "uid")

    def __init__(self, pid, uid):
        self.pid = pid
        self.uid = uid


def yes(lines=None):
    """Return a yes: alone, or with the lines that it is about."""
    return ["yes"] if lines is None else ["yes %d" % len(lines), *lines]


def no(code):
    """Return a no with its code."""
    return ["no %s" % code]


def failed(text):
    """Return the answer for every doubt."""
    return ["failed %s" % printable(str(text))[:300]]


class _TooMany(Exception):
    """A user has as many connections as it may have."""


class Listener:
    """A Unix socket at `path`; `handlers` maps a question's first word to its coroutine function.

    `mode` is the socket's, and the lock on access where it is 0600; `owners_only` refuses everybody but root and this
    process's user, whatever the mode.
    """

    def __init__(self, path, mode, owners_only):
        self.path = path
        self.handlers = {}
        self._mode = mode
        self._owners_only = owners_only
        self._server = None
        self._of_uid = {}  # uid -> connections, of users with a limit
        self._silent = {}  # uid -> those of them that are taking their time to ask
        self._unsaid = {}  # uid -> refused since the last line about them

    async def open(self):
        """Begin to listen.

        Raises:
            OSError: the socket cannot be made
        """
        # One daemon a run_dir (it holds a lock), so what is there is left over from one that was killed.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(self.path)
        finally:
            os.umask(before)
        os.chmod(self.path, self._mode)
        self._server = await asyncio.start_unix_server(
            self._accepted, sock=listener, limit=MOST_LINE_BYTES, backlog=BACKLOG
        )

    def close(self):
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def set_mode(self, mode):
        """Let in whom this mode lets in, from now on.

        Raises:
            OSError: the socket is there, and its mode cannot be changed
        """
        if self._server is not None:
            os.chmod(self.path, mode)
        self._mode = mode

    async def _accepted(self, reader, writer):
        peer = _peer(writer)
        try:
            if self._owners_only and not _has_no_limit(peer.uid):
                lines = self._refused(peer.uid, "not a user for this socket")
            else:
                lines = await self._served(reader, peer)
            if lines:
                writer.write("".join(line + "\n" for line in lines).encode("ascii", "replace"))
                await asyncio.wait_for(writer.drain(), LINE_SECONDS)
        except (OSError, asyncio.TimeoutError):
            writer.transport.abort()
        finally:
            writer.close()

    async def _served(self, reader, peer):
        """Return the answer's lines; none for whom does not ask in time."""
        try:
            with self._one_more(self._of_uid, peer.uid, MOST_OF_ONE_USER):
                line = asyncio.ensure_future(reader.readline())
                try:
                    if not (await asyncio.wait([line], timeout=SILENT_SECONDS))[0]:
                        with self._one_more(self._silent, peer.uid, MOST_SILENT):
                            await asyncio.wait([line], timeout=LINE_SECONDS - SILENT_SECONDS)
                    return await self._answer(line.result(), peer) if line.done() else []
                finally:
                    line.cancel()
        except _TooMany:
            return self._refused(peer.uid, "too many connections")
        except ValueError:  # longer than the limit
            return failed("expected one line of ASCII")

    @contextlib.contextmanager
    def _one_more(self, counts, uid, most):
        if _has_no_limit(uid):
            yield
            return
        if counts.get(uid, 0) >= most or (counts is self._of_uid and sum(counts.values()) >= MOST_CONNECTIONS):
            raise _TooMany
        counts[uid] = counts.get(uid, 0) + 1
        try:
            yield
        finally:
            counts[uid] -= 1
            if not counts[uid]:
                del counts[uid]

    def _refused(self, uid, reason):
        """Return the answer to who is refused; the log is told of the first, and a minute later of the others."""
        if uid in self._unsaid:
            self._unsaid[uid] += 1
        else:
            log(WARNING, "failed uid=%d socket=%s reason=%s" % (uid, self.path, reason))
            self._unsaid[uid] = 0
            asyncio.get_event_loop().call_later(LOG_SECONDS, self._say_refused, uid)
        return failed(reason)

    def _say_refused(self, uid):
        count = self._unsaid.pop(uid)
        if count:
            log(WARNING, "failed uid=%d socket=%s refused=%d more connections" % (uid, self.path, count))
            self._unsaid[uid] = 0
            asyncio.get_event_loop().call_later(LOG_SECONDS, self._say_refused, uid)

    async def _answer(self, received, peer):
        try:
            text = received.decode("ascii")
        except ValueError:
            return failed("expected one line of ASCII")
        words = text[:-1].split(" ")
        if not text.endswith("\n") or not all(word and printable_word(word) for word in words):
            return failed("expected words and a line feed")
        handler = self.handlers.get(words[0])
        if handler is None:
            return failed("no such question: %s" % words[0][:32])
        try:
            return await handler(words[1:], peer)
        except Refused as refusal:
            return no(refusal)
        except ServiceError as error:
            return failed(error)
        except asyncio.CancelledError:  # before Python 3.8 an Exception, too
            raise
        except Exception as error:  # a question must not end the daemon, nor be answered by a yes
            log(ERROR, "failed question=%s reason=unexpected %s: %s" % (words[0][:32], type(error).__name__, error))
            return failed("unexpected %s" % type(error).__name__)


def printable_word(word):
    """Tell whether a word is printable ASCII without a blank."""
    return all("!" <= character <= "~" for character in word)


def _has_no_limit(uid):
    """Tell whether a user is root or the daemon's own."""
    return uid in (0, os.geteuid())


def _peer(writer):
    connection = writer.get_extra_info("socket")
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid, uid, _ = _PEER.unpack(packed)
    return Peer(pid, uid)
