"""A service as the session's side sees it, answering as a test wants; the real one is in test_session_service.py."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.host.liar import Liar, Question, answer


def _json(value: object, status: str) -> bytes:
    return answer(json.dumps(value).encode(), status=status, kind="application/json; charset=utf-8")


def refusal(code: str = "certificate_revoked") -> bytes:
    """Return a clean no."""
    return answer(json.dumps({"code": code}).encode(), status="403 Forbidden", kind="application/problem+json")


@dataclass
class Scripted:
    """What the service says, and what it was told: `opened`, `ended` (login id, body) and the ids of `reports`."""

    verdict: bytes | None = None  # None: yes
    more: dict[str, Any] = field(default_factory=dict)  # in the answer to a login
    end: list[dict[str, Any]] = field(default_factory=list)
    opened: list[dict[str, Any]] = field(default_factory=list)
    ended: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    reports: list[list[str]] = field(default_factory=list)
    port: int = 0

    def __call__(self, question: Question) -> bytes:
        path = question.head.split(" ")[1]
        with suppress(AttributeError):
            if path.endswith("/sessions"):
                self.reports.append(question.body["open"])
                return _json({"end": self.end}, "200 OK")
            if path.endswith("/end"):
                self.ended.append((path.split("/")[-2], question.body))
                return answer(b"", status="204 No Content", kind="application/json")
            if path.endswith("/logins"):
                self.opened.append(question.body)
                made = {"login_id": question.body["login_id"], "counted": True, "uses_left": None, **self.more}
                return self.verdict or _json(made, "201 Created")
        return answer(b"{}", status="404 Not Found", kind="application/problem+json")

    def forget(self) -> None:
        """Begin anew."""
        self.verdict, self.more, self.end = None, {}, []
        self.opened.clear()
        self.ended.clear()
        self.reports.clear()


@contextmanager
def scripted() -> Iterator[Scripted]:
    """Run one."""
    script = Scripted()
    with Liar(script) as liar:
        script.port = liar.port
        yield script
