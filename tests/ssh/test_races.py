"""Revocations that race with issuing, on two processes; and kill -9 on PostgreSQL."""

import asyncio
import contextlib
import http.client
import json
import threading
import time
from urllib.parse import urlsplit

import pytest

from tests.serve.load import until
from tests.ssh.conftest import new_key
from tests.ssh.service import People, Service
from tests.ssh.test_kill9 import WRITERS, Writer, _known, first_answers, overloaded

ISSUERS, ROUNDS = 6, 60


class Issuer(threading.Thread):
    """Asks for certificates on one connection; notes when each question left and what came back."""

    def __init__(self, url: str, people: People, public_key: str, stop: threading.Event) -> None:
        super().__init__()
        self.address = urlsplit(url)
        self.headers = {"Authorization": people.client, "Content-Type": "application/json"}
        self.body = json.dumps(people.body(public_key))
        self.stop = stop
        self.granted: list[tuple[float, str, str]] = []  # asked at, serial, delegation
        self.codes: set[str] = set()
        self.failure = ""

    def uses(self, delegation: str) -> bool:
        """Tell whether the last certificate is under `delegation`."""
        return bool(self.granted) and self.granted[-1][2] == delegation

    def run(self) -> None:
        connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=120)
        try:
            while not self.stop.is_set():
                asked = time.monotonic()
                connection.request("POST", "/api/v1/tenants/default/certificates", self.body, self.headers)
                answer = connection.getresponse()
                text = answer.read()
                found = json.loads(text)
                if answer.status == 201:
                    self.granted.append((asked, found["serial"], found["delegation_id"]))
                elif not overloaded(answer.status, text):
                    self.codes.add(f"{answer.status} {found['code']}")
        except Exception as error:
            self.failure = repr(error)
        finally:
            connection.close()


@contextlib.contextmanager
def replicas(kind: str, path, request):
    """Two processes on one database: workers on SQLite, two services on PostgreSQL; yield the first and all URLs."""
    if kind == "sqlite":
        with Service(path / "data", workers=2) as service:
            service.init()
            service.start()
            yield service, [service.url]
        return
    with on_postgres(path, request) as first:
        first.init()
        with Service(first.data, environment=first.environment, operator=first.operator) as second:
            first.start()
            second.start()
            yield first, [first.url, second.url]


def on_postgres(tmp_path, request) -> Service:
    url = asyncio.run(request.getfixturevalue("postgres").fresh(template="template0"))
    return Service(tmp_path / "data", environment={"TMS_CA_DATABASE_URL": url})


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_A_05_no_process_issues_under_a_delegation_once_its_revocation_is_answered(
    passing_path, tmp_path, request, kind
):
    with replicas(kind, passing_path, request) as (service, urls):
        people = People(service, "alice")
        people.furnish()
        key = new_key(tmp_path, "id").public
        stop = threading.Event()
        issuers = [Issuer(urls[number % len(urls)], people, key, stop) for number in range(ISSUERS)]
        for issuer in issuers:
            issuer.start()
        revoked_at: dict[str, float] = {}
        try:
            for number in range(ROUNDS):
                if number % 4:  # else it may be revoked before anybody has used it
                    until(lambda: any(one.uses(people.delegation) for one in issuers), what="nobody is certified")
                time.sleep(0.002 * (number % 8))  # another moment of the issuers' work each time
                body = {"delegation_id": people.delegation, "reason": "race"}
                service.good("POST", "revocations", service.operator, body)
                revoked_at[people.delegation] = time.monotonic()
                time.sleep(0.01)  # in which nothing may be issued
                people.delegate()
        finally:
            stop.set()
            for issuer in issuers:
                issuer.join(180)
        assert [issuer.failure for issuer in issuers if issuer.failure] == []
        granted = [one for issuer in issuers for one in issuer.granted]
        late = [one for one in granted if one[2] in revoked_at and one[0] > revoked_at[one[2]]]
        assert late == [], "a certificate was issued under a delegation whose revocation had been answered"
        hit = {one[2] for one in granted} & set(revoked_at)
        assert len(hit) > ROUNDS // 2, f"the race was run in {len(hit)} of {ROUNDS} rounds only"
        codes = set().union(*(issuer.codes for issuer in issuers))
        assert codes <= {"403 delegation_revoked", "403 delegation_pending", "503 changed_meanwhile"}, codes
        # One that was asked for before and answered after is allowed, and revoked: nobody holds a live one.
        now_dead = {serial for _, serial, delegation in granted if delegation in revoked_at}
        assert now_dead <= revoked_serials(service)
        print(f"{ROUNDS} revocations against {len(granted)} certificates on {kind}: 0 late")


def revoked_serials(service: Service) -> set[str]:
    found: set[str] = set()
    cursor = ""
    while True:
        page = service.good("GET", f"certificates?limit=1000{cursor}", service.operator)
        found |= {item["serial"] for item in page["items"] if item["revocation_id"]}
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def test_E_01_kill_9_loses_no_certificate_on_postgresql(tmp_path, request):
    with on_postgres(tmp_path, request) as service:
        service.init()
        service.start()
        people = People(service, "alice")
        people.furnish()
        key = new_key(tmp_path, "id").public
        received: list[dict] = []
        for number in range(5):
            writers = [Writer(people, key) for _ in range(WRITERS)]
            for writer in writers:
                writer.start()
            first_answers(writers)
            time.sleep(0.15 + 0.07 * number)
            service.kill()
            for writer in writers:
                writer.join(180)
                assert not writer.surprise, writer.surprise
            received += [one for writer in writers for one in writer.received]
            service.start()
        serials = [one["serial"] for one in received]
        assert len(serials) > 50
        assert len(set(serials)) == len(serials)
        known = _known(service)
        assert set(serials) <= known["certificates"]
        assert {f"serial:{serial}" for serial in known["certificates"]} == known["events"]
    verified = service.tms_ca("audit", "verify", check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr
