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
MOST_CONNECTIONS = 512
MOST_OF_ONE_USER = 32  # root and the daemon's own user may have all of them
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
        self._of_uid = {}

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

    async def _accepted(self, reader, writer):
        peer = _peer(writer)
        count = self._of_uid.get(peer.uid, 0)
        owner = peer.uid in (0, os.geteuid())
        most = MOST_CONNECTIONS if owner else MOST_OF_ONE_USER
        self._of_uid[peer.uid] = count + 1
        try:
            if count >= most or sum(self._of_uid.values()) > MOST_CONNECTIONS:
                log(WARNING, "failed uid=%d reason=too many connections to %s" % (peer.uid, self.path))
                lines = failed("too many connections")
            elif self._owners_only and not owner:
                log(WARNING, "failed uid=%d reason=not a user for %s" % (peer.uid, self.path))
                lines = failed("not a user for this socket")
            else:
                lines = await self._answer(reader, peer)
            if lines:
                writer.write("".join(line + "\n" for line in lines).encode("ascii", "replace"))
                await asyncio.wait_for(writer.drain(), LINE_SECONDS)
        except (OSError, asyncio.TimeoutError):
            writer.transport.abort()
        finally:
            self._of_uid[peer.uid] -= 1
            if not self._of_uid[peer.uid]:
                del self._of_uid[peer.uid]
            writer.close()

    async def _answer(self, reader, peer):
        """Return the answer's lines; none for whom does not ask in time."""
        try:
            received = await asyncio.wait_for(reader.readline(), LINE_SECONDS)
            text = received.decode("ascii")
        except (asyncio.TimeoutError, OSError):
            return []
        except ValueError:  # longer than the limit, or not ASCII
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


def _peer(writer):
    connection = writer.get_extra_info("socket")
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid, uid, _ = _PEER.unpack(packed)
    return Peer(pid, uid)
