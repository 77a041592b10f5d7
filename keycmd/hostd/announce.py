"""What the service is told of sessions: that one wants to begin, and, in order and however late, that one has ended."""

import asyncio
import json
import time

from keycmd.hostd.journal import ERROR, WARNING, log
from keycmd.keylines import KEY_TYPES
from keycmd.service import Question, Refused, ServiceError, refusal_code
from principals_cmd.main import checked

OPEN_SECONDS = 4.0  # for the service to answer; the hook waits for five
RETRY_SECONDS = 5.0  # before a message that the service did not take is sent again
MOST_COMMAND = 1024
_TRY_AGAIN = (401, 403, 408, 425, 429)  # of the answers below 500: another time they may be others


class Away(ServiceError):
    """The service cannot be asked, or says nothing that can be believed."""


class Announcer:
    """The daemon's voice; `disk` is the executor of one thread in which the outbox is used."""

    def __init__(self, daemon, outbox, disk):
        self._daemon = daemon
        self._outbox = outbox
        self._disk = disk
        self._more = asyncio.Event()

    async def permission(self, session, address):
        """Ask whether a session may begin; return the command that the service forces, or None.

        Raises:
            Refused: it says no
            ServiceError: there is no yes, and none of an earlier time may stand in for it
            FilesError: one may, and could not be written down
        """
        body = {"login_id": session.login_id, "node": self._daemon.config.node, "account": session.account,
                "started_at": session.started_at, "late": False}  # fmt: skip
        if address:
            body["remote_address"] = address
        seconds = min(self._daemon.config.timeout, OPEN_SECONDS)
        kind, _, text = session.certificate.partition(" ")
        if kind in KEY_TYPES:
            return await self._permission_for_key(dict(body, public_key=session.certificate), seconds)
        body["certificate"] = session.certificate
        question = Question(session.account, kind, text)
        try:
            return await self._ask(body, self._daemon.answers.patience(question, seconds))
        except Away as error:
            lines = self._daemon.answers.remembered(question)
            if not lines:
                raise
            command = forced_command(lines)
            await self._put(dict(body, late=True))
            log(WARNING, "login=%s let in without the service reason=%s" % (session.login_id, error))
            return command
        except Refused as refusal:
            self._daemon.answers.refused(question, str(refusal))
            raise
        except ServiceError:
            self._daemon.answers.forget(question)
            raise

    async def _permission_for_key(self, body, seconds):
        """Ask about a plain key: nothing of an earlier time stands in for the service's yes."""
        try:
            return await self._ask(body, seconds)
        except Refused as refusal:
            self._daemon.answers.key_refused(str(refusal))
            raise

    async def _ask(self, body, seconds):
        status, answer = await self.call("logins", body, seconds)
        if status == 403:
            raise Refused(refusal_code(answer))
        if status >= 500:
            raise Away("the service answered %d" % status)
        if status not in (200, 201):
            raise ServiceError("the service answered %d" % status)
        made = as_object(answer)
        command = made.get("force_command")
        if made.get("login_id") != body["login_id"]:
            raise Away("the service's answer is not about this login")
        if command is not None and not is_command(command):
            raise ServiceError("the service forces a command that cannot be one")
        return command

    async def ended(self, session, reason):
        """Have the service told that a session has ended now (closed, ended, lost); on return that is on the disk.

        Raises:
            FilesError: it could not be written
        """
        await self._put({"login_id": session.login_id, "ended_at": rfc3339(), "reason": reason})

    async def _put(self, message):
        await asyncio.get_event_loop().run_in_executor(self._disk, self._outbox.put, message)
        self._more.set()

    async def send(self):
        """Say what has to be said, in order; what the service will never take is dropped. Never returns."""
        loop = asyncio.get_event_loop()
        while True:
            self._more.clear()
            entry = await loop.run_in_executor(self._disk, self._outbox.first)
            if entry is None:
                await self._more.wait()
                continue
            number, message = entry
            try:
                if "ended_at" in message:
                    body = {"ended_at": message["ended_at"], "reason": message.get("reason")}
                    status, answer = await self.call("logins/%s/end" % message.get("login_id"), body)
                else:
                    status, answer = await self.call("logins", message)
            except ServiceError:
                status, answer = 503, b""
            if status >= 500 or status in _TRY_AGAIN:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if status >= 300:
                why = "%d %s" % (status, refusal_code(answer))
                log(ERROR, "the service does not take the record of login=%s: %s" % (message.get("login_id"), why))
            await loop.run_in_executor(self._disk, self._outbox.drop, number)

    async def call(self, path, body, seconds=None):
        """Return (status, body) of a POST below this host.

        Raises:
            Away: no answer
        """
        config = self._daemon.config
        whole = "/api/v1/tenants/%s/hosts/%s/%s" % (config.tenant, config.host, path)
        try:
            status, _, answer = await self._daemon.upstream.call("POST", whole, body, seconds=seconds)
        except Away:
            raise
        except ServiceError as error:
            raise Away(str(error)) from error
        return status, answer


def as_object(text):
    """Return the JSON object in an answer.

    Raises:
        Away: it is none
    """
    try:
        value = json.loads(text.decode("utf-8"))
    except ValueError as error:
        raise Away("the service's answer is not JSON") from error
    if not isinstance(value, dict):
        raise Away("the service's answer is not a JSON object")
    return value


def is_command(text):
    """Tell whether a command may be forced: what a principals line may hold between quotes."""
    return (
        isinstance(text, str)
        and 0 < len(text) <= MOST_COMMAND
        and all(" " <= c <= "~" and c not in '"\\#' for c in text)
    )


def forced_command(lines):
    """Return the command that principals lines force, or None.

    Raises:
        ServiceError: they are none, or force different ones
    """
    found = set()
    for line in checked("".join(line + "\n" for line in lines)):
        _, begins, rest = line.partition('command="')
        found.add(rest.partition('"')[0] if begins else None)
    if len(found) != 1:
        raise ServiceError("the answer of an earlier time forces more than one command")
    return found.pop()


def rfc3339():
    """Return the present time, as the API writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
