"""The daemon's way to the service: TLS connections that stay open, to one of several addresses, strictly read.

It follows no redirect, uses no proxy, reads no environment and takes no answer that is not exactly as expected.
"""

import asyncio
import json
import sys
import time
from calendar import timegm
from email.utils import parsedate

from keycmd.hostd.connection import Connection
from keycmd.service import ServiceError
from keycmd.tls import tls_context

MOST_BYTES = 1 << 20  # of an answer, unless the caller says otherwise
MOST_CONNECTIONS = 32  # at once; more questions wait for their turn
IDLE_SECONDS = 15.0  # an idle connection is not used after that; the service keeps its own longer
_SAMPLES = 5  # of the service's clock


class Upstream:
    """One service at one or several addresses; it stays with the one that answered last.

    `addresses`, `token` and `ca_pem` are those of keycmd.config.Config; a token of None is not sent.
    """

    def __init__(self, config):
        self._slots = asyncio.Semaphore(MOST_CONNECTIONS)
        self._offsets = []
        self._idle = []
        self.failures = 0  # in a row
        self.last_error = None
        self.configure(config)

    def configure(self, config):
        """Take another configuration; connections of the old one are not used again.

        Raises:
            OSError, ValueError: the CA file holds no certificate
        """
        secure = any(address.secure for address in config.addresses)
        context = tls_context(config.ca_pem) if secure else None
        self.close()
        self._config, self._context, self._at = config, context, 0

    @property
    def address(self):
        """The authority of the address that is asked first."""
        return self._config.addresses[self._at].authority

    @property
    def clock_offset_ms(self):
        """How far this machine's clock is ahead of the service's; None before the first answer. Good to a second."""
        return sorted(self._offsets)[len(self._offsets) // 2] if self._offsets else None

    async def call(self, method, path, body=None, accept="application/json", seconds=None, headers=(), most=MOST_BYTES):
        """Return (status, headers with lower-case names, body) of one request.

        `path` begins with a slash; `body` is bytes, or something for JSON; `headers` are more pairs to send; `most`
        is the largest body taken. All addresses share the `seconds` (the configured timeout unless told). A status of
        500 and above is returned only if no address has a better one. A request may reach the service twice.

        Raises:
            ServiceError: no address gave an answer that can be believed
        """
        deadline = time.monotonic() + (self._config.timeout if seconds is None else seconds)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode("ascii")
        try:
            await asyncio.wait_for(self._slots.acquire(), _left(deadline))
        except asyncio.TimeoutError as error:
            raise ServiceError("no answer in time: too many other questions") from error
        try:
            answer = await self._first_good(method, path, body, accept, headers, most, deadline)
        except ServiceError as error:
            self.failures += 1
            self.last_error = str(error)
            raise
        finally:
            self._slots.release()
        self.failures = 0 if answer[0] < 500 else self.failures + 1
        self.last_error = None if answer[0] < 500 else "the service answered %d" % answer[0]
        return answer

    async def _first_good(self, method, path, body, accept, headers, most, deadline):
        config, first = self._config, self._at
        count = len(config.addresses)
        for turn in range(count):
            at = (first + turn) % count
            until = time.monotonic() + _left(deadline) / (count - turn)
            last = turn == count - 1
            request = _request(config, config.addresses[at], method, path, body, accept, headers)
            try:
                answer = await self._ask(config, at, request, most, until)
            except ServiceError:
                if last:
                    raise
                continue
            if answer[0] < 500 or last:
                if config is self._config and answer[0] < 500:
                    self._at = at
                return answer
        raise ServiceError("no address to ask")

    async def _ask(self, config, at, request, most, until):
        """Ask one address: over a connection that is open, or over a new one."""
        connection = self._take(config, at)
        if connection is not None:
            # It may have died without a word: half of the time is for a new one.
            half = time.monotonic() + _left(until) / 2
            try:
                return await self._over(connection, config, at, request, most, half)
            except ServiceError:
                pass
        connection = await self._connect(config, config.addresses[at], until)
        return await self._over(connection, config, at, request, most, until)

    async def _over(self, connection, config, at, request, most, until):
        sent = time.time()
        try:
            answer = await asyncio.wait_for(connection.ask(request, most), _left(until))
        except asyncio.TimeoutError as error:
            raise ServiceError("no answer in time: waiting for the answer") from error
        self._learn_clock(answer[1].get("date", ""), sent, time.time())
        if connection.usable:
            self._idle.append((config, at, connection))
            if len(self._idle) > MOST_CONNECTIONS:
                self._idle.pop(0)[2].close()
        return answer

    def _take(self, config, at):
        """Return an idle connection that may be asked, or None; those that are too old end here."""
        found, kept, now = None, [], time.monotonic()
        for entry in reversed(self._idle):  # the youngest first
            if not entry[2].usable or entry[0] is not config or now - entry[2].idle_since > IDLE_SECONDS:
                entry[2].close()
            elif found is None and entry[1] == at and entry[2].waits_until <= now:
                found = entry[2]
            else:
                kept.append(entry)
        self._idle = kept[::-1]
        return found

    async def _connect(self, config, address, until):
        loop = asyncio.get_event_loop()
        more = {"ssl": self._context, "server_hostname": address.name} if address.secure else {}
        if sys.version_info >= (3, 8):
            more["happy_eyeballs_delay"] = 0.25
        try:
            _, connection = await asyncio.wait_for(
                loop.create_connection(lambda: Connection(loop), address.name, address.port, **more), _left(until)
            )
        except asyncio.TimeoutError as error:
            raise ServiceError("no answer in time: connecting to %s" % address.authority) from error
        except (OSError, ValueError) as error:
            raise ServiceError("connecting to %s: %s" % (address.authority, error)) from error
        if config is not self._config:
            connection.close()
            raise ServiceError("the configuration changed meanwhile")
        return connection

    def _learn_clock(self, date, sent, received):
        if len(date) != 29:  # RFC 9110 section 5.6.7: Sun, 06 Nov 1994 08:49:37 GMT
            return
        try:
            # The header names whole seconds: on average the service's clock was half a second further.
            service = timegm(parsedate(date)[:6]) + 0.5
        except (ValueError, TypeError, IndexError, OverflowError):
            return
        self._offsets = [*self._offsets[1 - _SAMPLES :], int(((sent + received) / 2 - service) * 1000)]

    def close(self):
        """End all idle connections."""
        for _, _, connection in self._idle:
            connection.close()
        self._idle = []


def _request(config, address, method, path, body, accept, headers):
    lines = ["%s %s HTTP/1.1" % (method, path), "Host: %s" % address.authority, "Accept: %s" % accept]
    # What is fetched is for anyone, and a host whose credential was taken back must still learn of revocations.
    if config.token is not None and method != "GET":
        lines.append("Authorization: Bearer %s" % config.token)
    if body is not None:
        lines += ["Content-Type: application/json", "Content-Length: %d" % len(body)]
    lines += ["%s: %s" % pair for pair in headers]
    text = "\r\n".join([*lines, "", ""])
    if not all(" " <= character <= "~" for line in lines for character in line):
        raise ServiceError("a request's head holds something else than printable ASCII")
    return text.encode("ascii") + (body or b"")


def _left(deadline):
    left = deadline - time.monotonic()
    if left <= 0:
        raise ServiceError("no answer in time")
    return left
