"""The daemon's answers to the helpers: each question is asked live; an older yes only where the service is away.

What `when_away = cached N` remembers is kept in memory alone, of up to 4,096 questions: a yes without a limit of uses
to the same certificate and account, less than N minutes old and not followed by a no. A no is never remembered. A no
that may be about the host, the user or whatever else ends all that was remembered: only the service knows whom it hits.
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
SILENT_SECONDS = 5.0  # after the service did not answer, a question that memory can answer asks it for
SHORT_SECONDS = 0.5  # only so long: sshd waits for two such questions at each login
# What a no says of one certificate and of nothing else. Any other code, also one that is not known here, says more.
ABOUT_ONE_CERTIFICATE = frozenset(
    (
        "certificate_unknown",
        "certificate_altered",
        "certificate_revoked",
        "certificate_not_started",
        "certificate_expired",
        "certificate_other_host",
        "certificate_other_account",
        "key_is_ca_key",
        "key_is_host_key",
        "key_revoked",
        "uses_exhausted",
        "logins_not_counted",
        "uses_not_counted_here",
    )
)
# What a no says of one plain key, which is never remembered.
ABOUT_ONE_KEY = frozenset(
    (
        "public_key_unknown",
        "public_key_other_host",
        "public_key_other_account",
        "public_key_expired",
        "key_is_ca_key",
        "key_is_host_key",
        "key_revoked",
        "uses_exhausted",
    )
)


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

    def forget_certificate(self, question):
        """Remember no longer what was said of a question's certificate, for any account."""
        self.denials += 1
        for key in [key for key in self._answers if key[1] == question.certificate]:
            del self._answers[key]

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
        self._silent_until = 0.0  # on time.monotonic()

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
        whole = config.timeout - min(0.3, config.timeout / 4)
        seconds = self.patience(question, whole)
        status, denials = None, self._remembered.denials
        try:
            status, headers, answer = await self._daemon.upstream.call(
                "POST", path, question.body().encode("ascii"), "text/plain", seconds, most=MOST_ANSWER_BYTES
            )
            lines = checked(question.judge(config, status, headers, answer))
        except Refused as refusal:
            self.refused(question, str(refusal))
            raise
        except ServiceError as error:
            if status is None and seconds == whole:
                # After short tries it would be shut out for ever by being slow.
                self._silent_until = time.monotonic() + SILENT_SECONDS
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

    def patience(self, question, seconds):
        """Return for how many of the `seconds` to ask the service: few if it just kept silent and memory can answer."""
        if time.monotonic() < self._silent_until and self.remembered(question) is not None:
            return min(seconds, SHORT_SECONDS)
        return seconds

    def refused(self, question, code):
        """Forget what a no with this code ends: what was said of the certificate, or everything."""
        if code in ABOUT_ONE_CERTIFICATE:
            self._remembered.forget_certificate(question)
        else:
            self._remembered.clear()

    def key_refused(self, code):
        """As `refused`, for a plain key."""
        if code not in ABOUT_ONE_KEY:
            self._remembered.clear()

    def forget(self, question):
        """Remember no longer what was said to a question: what came instead of a yes cannot be believed."""
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
