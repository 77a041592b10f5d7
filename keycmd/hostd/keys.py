"""The daemon's answers about plain keys: each is asked live, and none is remembered for when the service is away."""

import asyncio

from keycmd.files import FilesError
from keycmd.hostd.journal import ERROR, INFO, NOTICE, log
from keycmd.hostd.keynotes import SWEEP_SECONDS, KeyNotes
from keycmd.hostd.listen import yes
from keycmd.hostd.report import openssh_version
from keycmd.keylines import without_expiry
from keycmd.keyquestion import KeyQuestion
from keycmd.service import MOST_ANSWER_BYTES, Refused, ServiceError

UTC_EXPIRY = (9, 1)  # the first OpenSSH that reads expiry-time with a Z


class Keys:
    """What ask.sock is asked about plain keys."""

    def __init__(self, daemon):
        """Take over the notes of an earlier daemon.

        Raises:
            FilesError: there is no place for them
        """
        self._daemon = daemon
        self._openssh = None
        self._notes = KeyNotes(daemon.config.state_dir)

    async def keys(self, words, _peer):
        """ACCOUNT FINGERPRINT TYPE: the lines that the service gives."""
        if len(words) != 3:
            raise ServiceError("expected ACCOUNT FINGERPRINT TYPE")
        host = self._daemon.config.host
        question = KeyQuestion(*words)
        try:
            lines = await self._ask(question)
        except Refused as refusal:
            self._daemon.answers.key_refused(str(refusal))
            # Most keys that people offer are none of the service's business.
            severity = INFO if str(refusal) == "public_key_unknown" else NOTICE
            log(severity, "refused host=%s %s code=%s" % (host, question.about, refusal))
            raise
        except ServiceError as error:
            log(ERROR, "failed host=%s %s reason=%s" % (host, question.about, error))
            raise
        log(INFO, "allowed host=%s %s" % (host, question.about))
        return yes(lines)

    async def _ask(self, question):
        config, loop = self._daemon.config, asyncio.get_event_loop()
        # With PAM's hook each login is announced, and a use taken then, once; what is asked here takes none.
        announced = config.sessions == "pam"
        body = question.body(reports_logins=announced)
        # The helper's own time began earlier, and it must still hear that there was no answer.
        seconds = config.timeout - min(0.3, config.timeout / 4)
        status, headers, answer = await self._daemon.upstream.call(
            "POST", question.path(config), body.encode("ascii"), "text/plain", seconds, most=MOST_ANSWER_BYTES
        )
        lines = question.judge(config, status, headers, answer)
        if announced:
            try:
                # In a thread: the disk may be slow. And before the yes, or a login would go uncounted.
                await loop.run_in_executor(None, self._notes.note, question.fingerprint)
            except OSError as error:
                raise ServiceError("cannot note the key for the session's hook: %s" % error) from error
        if self._openssh is None:
            self._openssh = await loop.run_in_executor(None, openssh_version)
        return [without_expiry(line) for line in lines] if old(self._openssh) else lines

    async def sweep(self):
        """Remove old notes, now and then."""
        while True:
            await asyncio.get_event_loop().run_in_executor(None, self._notes.sweep)
            await asyncio.sleep(SWEEP_SECONDS)


def old(version):
    """Tell whether `ssh -V` names a release that cannot read an expiry-time in UTC; the unknown is taken for new."""
    name, _, numbers = version.partition("_")
    major, _, rest = numbers.partition(".")
    minor = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if name != "OpenSSH" or not major.isdigit() or not minor:
        return False
    return (int(major), int(minor)) < UTC_EXPIRY


def register(daemon):
    """Take the helper's questions about plain keys.

    Raises:
        OSError: there is no place for what has to be kept
    """
    try:
        keys = Keys(daemon)
    except FilesError as error:
        raise OSError(str(error)) from error
    daemon.ask.handlers["keys"] = keys.keys
    daemon.jobs.append(keys.sweep)
