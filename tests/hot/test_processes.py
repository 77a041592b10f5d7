"""Login checks by one service process after a revocation was answered by another: never yes.

TMS_TEST_ROUNDS=200 runs as many rounds as the promise is made for; the default is the short form.
"""

import asyncio
import os
import time
from random import Random

import pytest

from tests.hot.line import Line, request
from tests.ssh.conftest import new_key
from tests.ssh.pair import pair
from tests.ssh.service import People

ROUNDS = int(os.environ.get("TMS_TEST_ROUNDS", "18"))
CHECKERS = 2  # on each process
TENANT = "/api/v1/tenants/default/"


class Checks:
    """Checkers at both processes, each over one connection that is kept, and when they were told yes."""

    def __init__(self, people: People, ports: list[int]) -> None:
        self.people, self.ports = people, ports
        self.certificate = ("", "")  # serial, text
        self.yes: list[tuple[float, int, str]] = []  # asked at, of which process, serial
        self.asked: list[tuple[float, float, int]] = []  # when, answered when, of which process
        self.no = 0
        self.odd: set[bytes] = set()
        self.stop = asyncio.Event()

    async def check(self, line: Line) -> int:
        serial, text = self.certificate
        body = {"account": self.people.account, "certificate": text, "nonce": "00"}
        asked = time.monotonic()
        said = await line.ask(request(f"{TENANT}hosts/h1/principals", body, self.people.host))
        self.asked.append((asked, time.monotonic(), line.port))
        if said.status == 200:
            self.yes.append((asked, line.port, serial))
        elif said.status == 403:
            self.no += 1
        elif said.status != 503:  # a machine that stands still for seconds is no yes either
            self.odd.add(said.body)
        return said.status

    async def decided(self, line: Line) -> int:
        """Check until there is a yes or a no."""
        async with asyncio.timeout(60):
            while (status := await self.check(line)) == 503:
                await asyncio.sleep(0.002)
        return status

    async def keep_asking(self, port: int) -> None:
        line = Line(port)
        while not self.stop.is_set():
            await self.check(line)
            await asyncio.sleep(0)
        line.close()


async def post(port: int, path: str, auth: str, body: object, method: str = "POST") -> tuple[int, bytes]:
    line = Line(port)
    async with asyncio.timeout(60):
        while (said := await line.ask(request(TENANT + path, body, auth, method=method))).status == 503:
            await asyncio.sleep(0.05)  # the machine stands still
    line.close()
    return said.status, said.body


@pytest.fixture(params=["sqlite", "postgres"])
async def two(request, tmp_path):
    """Two service processes on one database; on SQLite one of them is two workers and a writer."""
    environment = {}
    if request.param == "postgres":
        environment["TMS_CA_DATABASE_URL"] = await request.getfixturevalue("postgres").fresh(template="template0")
    wanted = request.config.getoption("--db")
    if wanted not in {"both", request.param}:
        pytest.skip(f"--db {wanted}")
    workers = 2 if request.param == "sqlite" else 1
    async with pair(tmp_path / "data", environment, workers=workers) as (people, second):
        ports = [int(one.url.rpartition(":")[2]) for one in (people.service, second)]
        yield people, ports, new_key(tmp_path, "id").public


async def test_A_05_A_06_no_process_lets_in_what_another_one_has_revoked(two):
    people, ports, public_key = two
    checks = Checks(people, ports)
    operator = people.service.operator
    dice = Random(8)
    sent: dict[str, float] = {}
    refused_from: dict[str, float] = {}

    async def certify() -> None:
        async with asyncio.timeout(60):
            while (made := await asyncio.to_thread(people.issue, public_key)).status != 201:
                await asyncio.sleep(0.005)
        checks.certificate = made.json["serial"], made.json["certificate"].strip()

    await certify()
    running = [asyncio.create_task(checks.keep_asking(port)) for port in ports for _ in range(CHECKERS)]
    lines = [Line(port) for port in ports]
    for number in range(ROUNDS):
        here, there = ports[number % 2], ports[1 - number % 2]
        serial = checks.certificate[0]
        for line in lines:
            async with asyncio.timeout(60):
                while await checks.check(line) != 200:
                    await asyncio.sleep(0.002)
        await asyncio.sleep(dice.random() * 0.01)
        sent[serial] = time.monotonic()
        if number % 3 == 2:
            status, said = await post(here, "users/alice", operator, {"enabled": False}, "PATCH")
            assert status == 200, said
        else:
            status, said = await post(here, "revocations", operator, {"serial": serial, "reason": "race"})
            assert status == 201, said
        refused_from[serial] = time.monotonic()
        for _ in range(2):
            for line in lines:
                assert await checks.decided(line) == 403
        if number % 3 == 2:
            status, said = await post(there, "users/alice", operator, {"enabled": True}, "PATCH")
            assert status == 200, said
            refused_from[serial] = float("inf")  # it is good again
        await certify()
    checks.stop.set()
    await asyncio.gather(*running)
    for line in lines:
        line.close()
    late = [one for one in checks.yes if one[0] > refused_from.get(one[2], float("inf"))]
    assert late == []
    assert checks.odd == set()
    # The race was run: both processes said yes under each certificate, and were asked while most were revoked.
    lasting = [s for s in refused_from if refused_from[s] != float("inf")]
    for port in ports:
        assert set(lasting) <= {serial for _, of, serial in checks.yes if of == port}
        asked = [one for one in checks.asked if one[2] == port]
        met = [s for s in lasting if any(begun < refused_from[s] and sent[s] < ended for begun, ended, _ in asked)]
        assert len(met) > len(lasting) // 2
    print(f"{ROUNDS} rounds, {len(checks.yes)} times yes, {checks.no} times no: 0 late")
