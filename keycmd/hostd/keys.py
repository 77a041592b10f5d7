"""The daemon's answers about plain keys: each is asked live, and none is remembered for when the service is away."""

import asyncio

from keycmd.hostd.journal import ERROR, INFO, NOTICE, log
from keycmd.hostd.listen import yes
from keycmd.hostd.report import openssh_version
from keycmd.keylines import without_expiry
from keycmd.keyquestion import KeyQuestion
from keycmd.service import MOST_ANSWER_BYTES, Refused, ServiceError

UTC_EXPIRY = (9, 1)  # the first OpenSSH that reads expiry-time with a Z


class Keys:
    """What ask.sock is asked about plain keys."""

    def __init__(self, daemon):
        self._daemon = daemon
        self._openssh = None

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
        config = self._daemon.config
        # The helper's own time began earlier, and it must still hear that there was no answer.
        seconds = config.timeout - min(0.3, config.timeout / 4)
        status, headers, answer = await self._daemon.upstream.call(
            "POST", question.path(config), question.body().encode("ascii"), "text/plain", seconds,
            most=MOST_ANSWER_BYTES,
        )  # fmt: skip
        lines = question.judge(config, status, headers, answer)
        if self._openssh is None:
            self._openssh = await asyncio.get_event_loop().run_in_executor(None, openssh_version)
        return [without_expiry(line) for line in lines] if old(self._openssh) else lines


def old(version):
    """Tell whether `ssh -V` names a release that cannot read an expiry-time in UTC; the unknown is taken for new."""
    name, _, numbers = version.partition("_")
    major, _, rest = numbers.partition(".")
    minor = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if name != "OpenSSH" or not major.isdigit() or not minor:
        return False
    return (int(major), int(minor)) < UTC_EXPIRY


def register(daemon):
    """Take the helper's questions about plain keys."""
    daemon.ask.handlers["keys"] = Keys(daemon).keys
