"""A little of everything that the metrics count, on a real service, for as long as somebody looks."""

import threading
from pathlib import Path
from typing import Self

from tests.ssh.service import People, Service
from tests.world import ssh_keygen


class Load:
    """Works in a thread from `with` on; `issued` and `allowed` count the answers that came."""

    def __init__(self, service: Service, directory: Path) -> None:
        self.service = service
        self.people = People(service, "alice")
        self.people.furnish()
        self.key = ssh_keygen(directory, f"id-{service.workers}").public
        self.issued = self.allowed = self.refused = self.revoked = 0
        self.failed: BaseException | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def check(self, certificate: str) -> int:
        body = {"account": "alice", "certificate": certificate, "nonce": "00"}
        return self.service.call("POST", "hosts/h1/principals", f"Bearer {self.people.host}", body).status

    def round(self) -> None:
        """One certificate, used, revoked, used again; a bad credential; a page that is not there; the KRL."""
        call = self.service.call
        made = self.people.issue(self.key)
        assert made.status == 201, made
        self.issued += 1
        assert self.check(made.json["certificate"]) == 200
        self.allowed += 1
        reason = {"serial": made.json["serial"], "reason": "test"}
        assert call("POST", "revocations", self.service.operator, reason).status == 201
        self.revoked += 1
        assert self.check(made.json["certificate"]) == 403
        self.refused += 1
        assert call("POST", "certificates", "Bearer tms_client_nobody", self.people.body(self.key)).status == 401
        assert call("GET", "/nothing/here").status == 404
        assert call("GET", "krl").status == 200

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                self.round()
                self._ending.wait(0.1)
        except BaseException as error:  # the test says it
            self.failed = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(60)
        assert self.failed is None, self.failed
