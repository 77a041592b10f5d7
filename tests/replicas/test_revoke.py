"""Two service processes on one PostgreSQL: once a revocation is answered, neither issues nor lets anyone in.

TMS_TEST_ROUNDS=200 runs as many rounds as the promise is made for; the default is the short form.
"""

import asyncio
import os
import signal
import time
from random import Random

import aiohttp
import asyncpg
import pytest

from tests.replicas.asking import TENANT
from tests.serve.load import in_time
from tests.ssh.conftest import new_key
from tests.ssh.pair import pair
from tests.ssh.service import People

ROUNDS = int(os.environ.get("TMS_TEST_ROUNDS", "30"))
PAUSES = max(4, ROUNDS // 5)
ISSUERS, CHECKERS = 3, 2  # on each replica


class Race:
    """Callers that issue and check logins on both replicas all the time, and what they were told."""

    def __init__(self, people: People, urls: list[str], public_key: str, http: aiohttp.ClientSession) -> None:
        self.people, self.urls, self.public_key, self.http = people, urls, public_key, http
        self.stop = asyncio.Event()
        self.granted: list[tuple[float, str, str]] = []  # asked at, delegation, serial
        self.let_in: list[tuple[float, str]] = []  # asked at, delegation of the certificate
        self.asked: list[tuple[float, float]] = []  # certificates: asked at, answered at
        self.refused = 0
        self.failed: set[str] = set()
        self.certificate: tuple[str, str] = ("", "")  # of which delegation, the text

    async def ask(self, url: str, path: str, auth: str, body: object) -> tuple[int, dict]:
        async with self.http.post(url + TENANT + path, headers={"Authorization": auth}, json=body) as answer:
            return answer.status, await answer.json(content_type=None)

    async def issue(self, url: str) -> tuple[int, dict]:
        asked = time.monotonic()
        status, found = await self.ask(url, "certificates", self.people.client, self.people.body(self.public_key))
        self.asked.append((asked, time.monotonic()))
        if status == 201:
            self.granted.append((asked, found["delegation_id"], found["serial"]))
        else:
            self.refused += 1
            if status != 403 and found["code"] not in {"changed_meanwhile", "database_unavailable", "overloaded"}:
                self.failed.add(f"{status} {found['code']}")
        return status, found

    async def check(self, url: str, certificate: str) -> int:
        body = {"account": self.people.account, "certificate": certificate, "nonce": "00"}
        status, _ = await self.ask(url, "hosts/h1/principals", f"Bearer {self.people.host}", body)
        return status

    async def decided(self, url: str, certificate: str) -> int:
        """Check until there is a yes or a no; a machine that stands still for seconds is neither."""
        async with asyncio.timeout(60):
            while (status := await self.check(url, certificate)) == 503:
                await asyncio.sleep(0.05)
        return status

    async def issuer(self, url: str) -> None:
        while not self.stop.is_set():
            await self.issue(url)

    async def keep_issuing(self, url: str, halt: asyncio.Event) -> None:
        while not halt.is_set():
            await self.issue(url)

    async def checker(self, url: str) -> None:
        while not self.stop.is_set():
            delegation, text = self.certificate
            asked = time.monotonic()
            if await self.check(url, text) == 200:
                self.let_in.append((asked, delegation))

    async def renew(self) -> None:
        """Approve another delegation, and have a certificate of it to check logins with."""
        await asyncio.to_thread(self.people.delegate)
        await self.certify()

    async def certify(self) -> None:
        """Have a certificate of the delegation to check logins with."""
        status, found = 0, {}
        async with asyncio.timeout(60):
            while status != 201 or found["delegation_id"] != self.people.delegation:
                status, found = await self.issue(self.urls[0])
        self.certificate = (self.people.delegation, found["certificate"])

    async def let_someone_in(self) -> None:
        """Wait until somebody was let in under the present delegation."""
        async with asyncio.timeout(60):
            while not self.let_in or self.let_in[-1][1] != self.certificate[0]:
                await asyncio.sleep(0.002)

    async def revoke(self, url: str) -> float:
        """Revoke the delegation; return the moment of the answer."""
        body = {"delegation_id": self.people.delegation, "reason": "race"}
        told: list[tuple[float, str]] = []  # when, why not yet: the machine stands still
        while True:
            begun = time.monotonic()
            status, found = await self.ask(url, "revocations", self.people.service.operator, body)
            if status != 503:
                break
            told.append((time.monotonic() - begun, found["code"]))
            assert sum(seconds for seconds, _ in told) < 60, told
            await asyncio.sleep(0.05)
        assert status == 201, found
        return time.monotonic()


@pytest.fixture
async def two(postgres, tmp_path):
    """Two service processes, people, and a race that has not begun."""
    url = await postgres.fresh(template="template0")
    async with pair(tmp_path / "data", {"TMS_CA_DATABASE_URL": url}) as (people, second):
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
            race = Race(people, [people.service.url, second.url], new_key(tmp_path, "id").public, http)
            await race.certify()
            yield race, second, url


async def unrevoked(url: str, delegations: set[str]) -> list[str]:
    """Return the certificates of revoked delegations that are not revoked themselves."""
    connection = await asyncpg.connect(url)
    query = (
        "SELECT serial::text FROM certificates WHERE delegation_id = ANY($1) "
        "AND NOT EXISTS (SELECT FROM revoked_certificates r WHERE r.serial = certificates.serial)"
    )
    found = [row["serial"] for row in await connection.fetch(query, list(delegations))]
    await connection.close()
    return found


async def test_A_05_A_06_after_the_answer_of_a_revocation_no_replica_issues_or_lets_in(two):
    race, _, url = two
    running = [asyncio.create_task(race.issuer(one)) for one in race.urls for _ in range(ISSUERS)]
    running += [asyncio.create_task(race.checker(one)) for one in race.urls for _ in range(CHECKERS)]
    revoked: dict[str, float] = {}
    sent: list[float] = []
    dice = Random(5)
    for number in range(ROUNDS):
        await race.let_someone_in()
        await asyncio.sleep(dice.random() * 0.02)
        sent.append(time.monotonic())
        revoked[race.people.delegation] = await race.revoke(race.urls[number % 2])
        await asyncio.sleep(0.01)
        await race.renew()
    race.stop.set()
    await asyncio.gather(*running)
    late = [one for one in race.granted if one[1] in revoked and one[0] > revoked[one[1]]]
    opened = [one for one in race.let_in if one[1] in revoked and one[0] > revoked[one[1]]]
    assert (late, opened) == ([], [])
    assert race.failed == set()
    # The race was run: both answers were given under most of the delegations, and asked for while they were revoked.
    issued = {one[1] for one in race.granted if one[1] in revoked}
    spans = list(zip(sent, revoked.values(), strict=True))
    met = [at for at, until in spans if any(begun < until and at < ended for begun, ended in race.asked)]
    entered = {one[1] for one in race.let_in if one[1] in revoked}
    assert len(issued) > ROUNDS // 2
    assert len(met) > ROUNDS // 2
    assert len(entered) > ROUNDS // 2
    assert race.refused > ROUNDS // 2
    assert await unrevoked(url, set(revoked)) == []
    print(f"{ROUNDS} rounds, {len(race.granted)} certificates, {len(race.let_in)} logins: 0 late")


async def test_A_05_a_replica_that_was_stopped_in_the_middle_issues_nothing_when_it_goes_on(two):
    race, second, url = two
    here, there = race.urls
    dice = Random(7)
    revoked: set[str] = set()
    hit = 0
    for number in range(PAUSES):
        delegation, certificate = race.certificate
        assert await race.decided(there, certificate) == 200
        halt, before = asyncio.Event(), len(race.asked)
        burst = [asyncio.create_task(race.keep_issuing(there, halt)) for _ in range(40)]
        if number % 2:  # in the middle of changes, too, that hold the tenant's row
            path, operator = there + TENANT + "users/alice", race.people.service.operator
            burst += [
                asyncio.create_task(renamed(race.http, path, operator, f"number {n}")) for n in range(8)
            ]  # fmt: skip
        some = dice.randrange(80)  # they come in groups
        async with asyncio.timeout(60):
            while len(race.asked) - before < some:
                await asyncio.sleep(0)
        second.signal(signal.SIGSTOP)
        halt.set()
        try:
            hit += not all(task.done() for task in burst)
            begun = time.monotonic()
            answered = await race.revoke(here)
            in_time(answered - begun, 5)
            revoked.add(delegation)
            assert await race.decided(here, certificate) == 403
        finally:
            second.signal(signal.SIGCONT)
        status, found = await race.issue(there)
        assert status in {403, 503}, found
        assert await race.check(there, certificate) in {403, 503}
        await asyncio.gather(*burst)
        late = [one for one in race.granted if one[1] == delegation and one[0] > answered]
        assert late == []
        assert await unrevoked(url, revoked) == [], "a certificate was written after the revocation"
        await race.renew()
        async with asyncio.timeout(60):
            while (await race.issue(there))[0] != 201:
                await asyncio.sleep(0.02)
    assert hit > PAUSES // 2, "the replica was stopped while it had something to do"


async def renamed(http: aiohttp.ClientSession, url: str, auth: str, name: str) -> int:
    async with http.patch(url, headers={"Authorization": auth}, json={"display_name": name}) as answer:
        return answer.status
