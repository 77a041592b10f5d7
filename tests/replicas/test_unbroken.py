"""A tenant that is changed without a pause, on every process at once: certificates and logins go on, and so do changes."""

import asyncio
import os
import time
from collections import Counter

import pytest

from tests.hot.line import Line, request
from tests.ssh.conftest import new_key
from tests.ssh.pair import pair

TENANT = "/api/v1/tenants/default/"
CHANGERS, ISSUERS, CHECKERS, RESERVERS = 2, 16, 4, 2  # on each process
STANDSTILL = {"overloaded", "database_unavailable"}  # of the machine, for seconds; the changes of others say otherwise
EACH = int(os.environ.get("TMS_TEST_ROUNDS", "8"))  # certificates, and logins, of each


@pytest.fixture(params=["sqlite", "postgres"])
async def served(request, tmp_path):
    """People, and the ports of two services on one database; on SQLite one of them is two workers and a writer."""
    environment = {}
    if request.param == "postgres":
        environment["TMS_CA_DATABASE_URL"] = await request.getfixturevalue("postgres").fresh(template="template0")
    wanted = request.config.getoption("--db")
    if wanted not in {"both", "usual", request.param}:
        pytest.skip(f"--db {wanted}")
    workers = 2 if request.param == "sqlite" else 1
    async with pair(tmp_path / "data", environment, workers=workers) as (people, second):
        service = people.service
        await asyncio.to_thread(service.good, "POST", "users", service.operator, {"user": "bob"})
        ports = [int(one.url.rpartition(":")[2]) for one in (people.service, second)]
        yield people, ports, new_key(tmp_path, "id").public


async def test_certificates_and_logins_under_one_change_upon_another(served):
    people, ports, public_key = served
    issued = await asyncio.to_thread(people.issue, public_key)
    check = {"account": "alice", "certificate": issued.json["certificate"].strip(), "nonce": "00"}
    said: Counter[tuple[str, int, str]] = Counter()
    late: dict[str, float] = {}
    done = asyncio.Event()

    async def keep(what: str, port: int, bytes_: bytes, times: int) -> None:
        line = Line(port)
        while times and not (what == "change" and done.is_set()):
            asked = time.monotonic()
            answer = await line.ask(bytes_)
            if answer.status == 503 and answer.code in STANDSTILL:
                continue
            times -= 1
            late[what] = max(late.get(what, 0.0), time.monotonic() - asked)
            said[what, answer.status, answer.code if answer.status >= 400 else ""] += 1
        line.close()

    named = request(f"{TENANT}users/bob", {"display_name": "x"}, people.service.operator, method="PATCH")
    wish = request(f"{TENANT}certificates", people.body(public_key), people.client)
    login = request(f"{TENANT}hosts/h1/principals", check, people.host)
    carried = {"user": "alice", "host": "h1", "account": "alice", "purpose": "run", "lifetime_seconds": 60}
    reserve = request(f"{TENANT}reservations", carried, people.client)
    begun = time.monotonic()
    changing = [asyncio.create_task(keep("change", port, named, 10**9)) for port in ports for _ in range(CHANGERS)]
    asking = [keep("issue", port, wish, EACH) for port in ports for _ in range(ISSUERS)]
    asking += [keep("check", port, login, EACH) for port in ports for _ in range(CHECKERS)]
    asking += [keep("reserve", port, reserve, EACH) for port in ports for _ in range(RESERVERS)]
    await asyncio.gather(*asking)
    done.set()
    await asyncio.gather(*changing)
    took = time.monotonic() - begun
    changes = said.pop(("change", 200, ""))
    print(f"{dict(said)}, {changes} changes in {took:.1f} s; at most {late} s for one")
    each = 2 * EACH
    good = {("issue", 201, ""): ISSUERS * each, ("check", 200, ""): CHECKERS * each}
    assert said == {**good, ("reserve", 201, ""): RESERVERS * each}
    assert changes > 2 * CHANGERS * 2  # they went on all the time
