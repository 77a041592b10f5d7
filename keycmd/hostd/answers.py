"""The daemon's answers to the helpers: each question is asked live; an older yes only where the service is away.

What `when_away = cached N` remembers is kept in memory alone, of up to 4,096 questions: a yes without a limit of uses
to the same certificate and account, less than N minutes old and not followed by a no. A no is never remembered.
"""

import json
import time
from collections import OrderedDict

from keycmd.hostd.journal import ERROR, INFO, NOTICE, WARNING, log
from keycmd.hostd.listen import yes
from keycmd.service import MOST_ANSWER_BYTES, Question, Refused, ServiceError
from keycmd.unverified import Unverified, about
from principals_cmd.main import checked, shown

MOST_REMEMBERED = 4096


class Remembered:
    """The last yes to each question. Times are given: `now` is Unix time, `steady` time.monotonic()."""

    def __init__(self):
        self._answers = OrderedDict()
        self.denials = 0  # how often something was forgotten

    def __len__(self):
        return len(self._answers)

    def keep(self, question, lines, now, steady):
        """Remember a yes; the oldest one gives way."""
        key = (question.account, question.certificate)
        self._answers.pop(key, None)
        self._answers[key] = (lines, now, steady)
        if len(self._answers) > MOST_REMEMBERED:
            self._answers.popitem(last=False)

    def forget(self, question):
        """Remember no longer what was said to a question."""
        self.denials += 1
        self._answers.pop((question.account, question.certificate), None)

    def clear(self):
        """Remember nothing."""
        self.denials += 1
        self._answers.clear()

    def find(self, question, minutes, now, steady):
        """Return (lines, age in seconds) of a yes younger than `minutes` to a certificate not ended, or None."""
        found = self._answers.get((question.account, question.certificate))
        if found is None:
            return None
        # Whichever clock says more: one can be set back, the other stands still while the machine sleeps.
        age = max(now - found[1], steady - found[2])
        end = Unverified(question.certificate).valid_before
        if age >= minutes * 60 or end is None or now >= end:
            self.forget(question)
            return None
        return found[0], age


class Answers:
    """What ask.sock is asked about principals, and about the daemon itself."""

    def __init__(self, daemon):
        self._daemon = daemon
        self._remembered = Remembered()

    async def principals(self, words, _peer):
        """ACCOUNT TYPE CERTIFICATE: the lines that the service gives, or those that it gave."""
        if len(words) != 3:
            raise ServiceError("expected ACCOUNT TYPE CERTIFICATE")
        host = self._daemon.config.host
        question = Question(*words)
        try:
            lines, more = await self._ask(question)
        except Refused as refusal:
            log(NOTICE, "refused host=%s %s code=%s" % (host, about(question), refusal))
            raise
        except ServiceError as error:
            log(ERROR, "failed host=%s %s reason=%s" % (host, about(question), error))
            raise
        log(WARNING if more else INFO, "allowed host=%s %s %s%s" % (host, about(question), shown(lines), more))
        return yes(lines)

    async def _ask(self, question):
        """Return the lines, and what the log has to say of where they come from."""
        config = self._daemon.config
        path = "/api/v1/tenants/%s/hosts/%s/principals" % (config.tenant, config.host)
        # The helper's own time began earlier, and it must still hear that there was no answer.
        seconds = config.timeout - min(0.3, config.timeout / 4)
        status, denials = None, self._remembered.denials
        try:
            status, headers, answer = await self._daemon.upstream.call(
                "POST", path, question.body().encode("ascii"), "text/plain", seconds, most=MOST_ANSWER_BYTES
            )
            lines = checked(question.judge(config, status, headers, answer))
        except Refused:
            self._remembered.forget(question)
            raise
        except ServiceError as error:
            return self._when_away(question, status, error)
        if not self._daemon.config.away_minutes or "x-tms-uses" in headers:
            self._remembered.forget(question)
        elif denials == self._remembered.denials:  # else a no may have overtaken this yes on its way
            self._remembered.keep(question, lines, time.time(), time.monotonic())
        return lines, ""

    def _when_away(self, question, status, error):
        """Return what was said before, if the service could not be asked; else raise `error`."""
        minutes = self._daemon.config.away_minutes
        if status is not None and 400 <= status < 500:
            if status not in (408, 429):
                self._remembered.clear()  # the service no longer takes this host for what it says it is
            raise error
        if not minutes:
            self._remembered.clear()
            raise error
        found = self._remembered.find(question, minutes, time.time(), time.monotonic())
        if found is None:
            raise error
        lines, age = found
        return lines, " from=memory age=%d reason=%s" % (age, error)

    def remembered(self, question):
        """Return the lines of a yes that may stand in for the service's now, or None; a session's side asks."""
        minutes = self._daemon.config.away_minutes
        found = self._remembered.find(question, minutes, time.time(), time.monotonic()) if minutes else None
        return None if found is None else found[0]

    def forget(self, question):
        """Remember no longer what was said to a question: a session was refused."""
        self._remembered.forget(question)

    async def status(self, _words, _peer):
        """Nothing more: all that the daemon knows of itself, as one JSON object."""
        daemon = self._daemon
        known = {
            "host": daemon.config.host,
            "tenant": daemon.config.tenant,
            "service": daemon.upstream.address,
            "service_failures": daemon.upstream.failures,
            "service_error": daemon.upstream.last_error,
            "clock_offset_ms": daemon.upstream.clock_offset_ms,
            "when_away": daemon.config.when_away,
            "remembered": len(self._remembered),
            "time": int(time.time()),
        }
        known.update(daemon.state)
        return ["json", json.dumps(known, sort_keys=True)]


def register(daemon):
    """Take the helpers' questions; other parts find the Answers as `daemon.answers`."""
    answers = Answers(daemon)
    daemon.answers = answers
    daemon.ask.handlers["principals"] = answers.principals
    daemon.ask.handlers["status"] = answers.status
