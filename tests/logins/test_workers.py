"""Sixty logins at once for ten, told to a service of two worker processes, on each database."""

import asyncio
import secrets
from collections import Counter

import aiohttp
import pytest

from schemas.base import rfc3339
from tests.serve.conftest import initialised, shop  # noqa: F401 - fixtures

RACERS, USES = 60, 10


async def race(shop_, certificate: str) -> list[tuple[int, dict]]:
    """Tell of sixty logins, each on a connection of its own, so that both workers get some."""
    url = f"{shop_.service.url}/api/v1/tenants/default/hosts/h1/logins"
    headers = {"Authorization": f"Bearer {shop_.people.host}"}

    async def one() -> tuple[int, dict]:
        body = {
            "login_id": secrets.token_hex(16), "node": "login1", "account": "alice", "certificate": certificate,
            "started_at": rfc3339(1_800_000_000),
        }  # fmt: skip
        while True:
            async with http.post(url, json=body, headers=headers) as answer:
                said = answer.status, await answer.json(content_type=None)
            if said[1].get("code") != "overloaded":  # a slow machine has not the time for so many at once
                return said
            await asyncio.sleep(0.05)

    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60)) as http:
        return await asyncio.gather(*(one() for _ in range(RACERS)))


@pytest.mark.parametrize("on_postgres", [False, True], ids=["sqlite", "postgres"])
async def test_A_08_two_workers_count_ten_of_sixty(shop, on_postgres, request):  # noqa: F811 - a fixture
    environment = None
    if on_postgres:
        if request.config.getoption("--db") == "sqlite":
            pytest.skip("--db sqlite")
        postgres = request.getfixturevalue("postgres")
        environment = {"TMS_CA_DATABASE_URL": await postgres.fresh()}
    opened = await asyncio.get_running_loop().run_in_executor(None, lambda: shop(2, environment=environment))
    service, people = opened.service, opened.people
    wish = {"user": "alice", "host": "h1", "account": "alice", "lifetime_seconds": 86400, "purpose": "test",
            "constraints": {"max_uses": USES}}  # fmt: skip
    service.good("POST", f"delegations/{people.delegation}/revoke", people.session)
    asked = service.good("POST", "delegations", people.client, wish)
    service.good("POST", f"delegations/{asked['id']}/approve", people.session, {})
    answers = await race(opened, people.issue(opened.key).json["certificate"])
    assert Counter(status for status, _ in answers)[201] == USES, Counter(
        (status, body.get("code")) for status, body in answers
    )
    assert sorted(body["uses_left"] for status, body in answers if status == 201) == list(range(USES))
    assert {body["code"] for status, body in answers if status != 201} == {"uses_exhausted"}
    left = service.good("GET", f"delegations/{asked['id']}", service.operator)["uses_left"]
    assert left == 0
    listed = service.good("GET", "logins?limit=1000", service.operator)["items"]
    assert (len(listed), {one["counted"] for one in listed}) == (USES, {True})
