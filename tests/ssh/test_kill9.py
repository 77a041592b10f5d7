"""E-01: kill -9 at any moment; nobody holds a certificate that the database does not know."""

import http.client
import json
import random
import threading
import time
from urllib.parse import urlsplit

import pytest

from tests.serve.load import until
from tests.ssh.conftest import new_key
from tests.ssh.service import People, Service

WRITERS = 16


class Writer(threading.Thread):
    """Asks for certificates on one connection until the service dies; keeps every one that it received whole."""

    def __init__(self, people: People, public_key: str) -> None:
        super().__init__()
        self.address = urlsplit(people.service.url)
        self.headers = {"Authorization": people.client, "Content-Type": "application/json"}
        self.body = json.dumps(people.body(public_key))
        self.received: list[dict] = []
        self.surprise: str = ""

    def run(self) -> None:
        connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=120)
        try:
            while True:
                connection.request("POST", "/api/v1/tenants/default/certificates", self.body, self.headers)
                answer = connection.getresponse()
                text = answer.read()
                if overloaded(answer.status, text):
                    time.sleep(0.02)
                    continue
                if answer.status != 201:
                    self.surprise = f"{answer.status} {text[:300]!r}"
                    return
                self.received.append(json.loads(text))
        except (OSError, http.client.HTTPException, ValueError):
            return  # killed in the middle: what did not arrive whole was not received
        finally:
            connection.close()


@pytest.mark.parametrize(("workers", "rounds"), [(1, 20), (2, 4)])
def test_E_01_kill_9_loses_no_certificate(passing_path, tmp_path, request, workers, rounds):
    # In memory, which a kill -9 leaves as it is: a disk that stands still for seconds would refuse certificates.
    service = Service(passing_path / "data", workers=workers)
    request.addfinalizer(service.stop)
    service.init()
    service.start()
    people = People(service, "alice")
    people.furnish()
    key = new_key(tmp_path, "id").public
    dice = random.Random(20261121)
    received: list[dict] = []
    for number in range(rounds):
        writers = [Writer(people, key) for _ in range(WRITERS)]
        for writer in writers:
            writer.start()
        if number % 4 != 3:  # a service that is busy with its start is killed, too
            first_answers(writers)
        time.sleep(dice.uniform(0.05, 0.6))  # the random moment
        service.kill()
        for writer in writers:
            writer.join(180)
            assert not writer.is_alive()
            assert not writer.surprise, writer.surprise
        got = [one for writer in writers for one in writer.received]
        assert got or number, "no certificate at all: the test would prove nothing"
        received += got
        service.start()
    try:
        serials = [one["serial"] for one in received]
        assert len(serials) > rounds * 5
        assert len(set(serials)) == len(serials), "a serial was used twice"
        known = _known(service)
        assert set(serials) <= known["certificates"], "a client holds a certificate that the database does not know"
        assert {f"serial:{serial}" for serial in serials} <= known["events"], "a certificate without its audit event"
        # Whatever the database has and nobody received is on record as well; the two never disagree.
        assert {f"serial:{serial}" for serial in known["certificates"]} == known["events"]
    finally:
        service.stop()
    verified = service.tms_ca("audit", "verify", check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    print(f"{len(serials)} certificates received over {rounds} kills, 0 missing, 0 twice")


def overloaded(status: int, text: bytes) -> bool:
    """Tell whether that is what a service says that has no time now: on a slow machine sixteen at once are too many."""
    return status == 503 and json.loads(text)["code"] == "overloaded"


def first_answers(writers: list[Writer]) -> None:
    """Wait until every writer has a certificate: what a busy machine does in a moment may be nothing."""
    until(lambda: all(writer.received or not writer.is_alive() for writer in writers), 120, "nobody has a certificate")


def _known(service: Service) -> dict[str, set[str]]:
    certificates = _all(service, "certificates?limit=1000", "serial")
    events = _all(service, "audit-events?limit=1000&action=certificates.issue&outcome=ok", "target")
    return {"certificates": certificates, "events": events}


def _all(service: Service, path: str, name: str) -> set[str]:
    found: set[str] = set()
    cursor = ""
    while True:
        page = service.good("GET", path + cursor, service.operator)
        found |= {item[name] for item in page["items"]}
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"
