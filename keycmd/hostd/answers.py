"""The daemon's answers to the helpers: each question is asked live."""

import json
import time

from keycmd.hostd.journal import ERROR, INFO, NOTICE, log
from keycmd.hostd.listen import yes
from keycmd.service import Question, Refused, ServiceError
from principals_cmd.main import checked


class Answers:
    """What ask.sock is asked about principals."""

    def __init__(self, daemon):
        self._daemon = daemon

    async def principals(self, words, _peer):
        """ACCOUNT TYPE CERTIFICATE: the principals that the service names."""
        if len(words) != 3:
            raise ServiceError("expected ACCOUNT TYPE CERTIFICATE")
        config = self._daemon.config
        question = Question(*words)
        about = "host=%s account=%s certificate=%s" % (config.host, question.account, question.fingerprint)
        path = "/api/v1/tenants/%s/hosts/%s/principals" % (config.tenant, config.host)
        try:
            answer = await self._daemon.upstream.call(
                "POST", path, question.body().encode("ascii"), accept="text/plain", most=65536
            )
            lines = checked(question.judge(*answer))
        except Refused as refusal:
            log(NOTICE, "refused %s code=%s" % (about, refusal))
            raise
        except ServiceError as error:
            log(ERROR, "failed %s reason=%s" % (about, error))
            raise
        log(INFO, "allowed %s principals=%s" % (about, ",".join(lines)))
        return yes(lines)

    async def status(self, _words, _peer):
        """Nothing more: all that the daemon knows of itself, as one JSON object."""
        daemon = self._daemon
        shown = {
            "host": daemon.config.host,
            "tenant": daemon.config.tenant,
            "service": daemon.upstream.address,
            "service_failures": daemon.upstream.failures,
            "service_error": daemon.upstream.last_error,
            "clock_offset_ms": daemon.upstream.clock_offset_ms,
            "when_away": daemon.config.when_away,
            "time": int(time.time()),
        }
        shown.update(daemon.state)
        return ["json", json.dumps(shown, sort_keys=True)]


def register(daemon):
    """Take the helpers' questions."""
    answers = Answers(daemon)
    daemon.ask.handlers["principals"] = answers.principals
    daemon.ask.handlers["status"] = answers.status
