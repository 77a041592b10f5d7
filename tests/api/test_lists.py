"""Every list: pages that are complete, in order and without end or repetition; cursors that were not given out."""

import base64
import json

import pytest

from tests.api.bodies import credential, good_bodies, path_of
from tests.logins.telling import told
from tests.world import ssh_keygen
from tms_ca.http.routes import ENDPOINTS

LISTS = [e for e in ENDPOINTS if e.name.startswith("list_")]
PAGED = [e for e in LISTS if e.query is not None]
MANY = 7


@pytest.fixture
async def full(world):
    """A tenant with seven of everything that is listed."""
    operator, portal = world.operator, world.clients["portal"]
    for n in range(MANY):
        await world.good("POST", "/api/v1/tenants", auth=operator, json={"tenant": f"t{n}"})
        for noun, field in (("clients", "client_id"), ("users", "user"), ("hosts", "host"), ("admins", "admin_id")):
            await world.good("POST", noun, auth=operator, json={field: f"x{n}"})
        identity = {"issuer": "https://idp.example", "subject": f"s{n}", "user": "alice"}
        await world.good("POST", "identities", auth=operator, json=identity)
        await world.link("alice", "h1", f"alice{n}")
        await world.delegate("alice", "portal", "h1", "alice", approve=False)
        issued = await world.good("POST", "certificates", auth=portal, json=world.issue_body())
        place = {"user": "alice", "host": "h1", "account": "alice"}
        escrowed = {**place, "public_key": ssh_keygen(world.keys, f"plain{n}").public}
        await world.good("POST", "public-keys", auth=portal, json=escrowed)
        reserved = {**place, "lifetime_seconds": 3600, "purpose": "nightly"}
        await world.good("POST", "reservations", auth=portal, json=reserved)
        said = {**good_bodies(world)["report"], "node": f"login{n}"}
        await world.good("POST", "hosts/h1/reports", auth=world.hosts["h1"], json=said)
        login = told(world, issued["certificate"])
        await world.good("POST", "hosts/h1/logins", auth=world.hosts["h1"], json=login)
        await world.good("POST", "revocations", auth=operator, json={"serial": issued["serial"], "reason": "x"})
        world.clock.move(1)
    return world


def test_these_are_the_lists():
    assert len(LISTS) == 18
    assert {e.name for e in LISTS} - {e.name for e in PAGED} == {
        "list_ca_keys",
        "list_client_secrets",
        "list_host_secrets",
    }
    assert all(e.method == "GET" and "limit" in e.query.fields and "cursor" in e.query.fields for e in PAGED)


async def pages(world, endpoint, limit, **more):
    """Follow the cursors; return the pages."""
    found, cursor = [], None
    auth = world.operator
    while True:
        query = f"limit={limit}" + (f"&cursor={cursor}" if cursor else "")
        reply = await world.call("GET", f"{path_of(world, endpoint)}?{query}", auth=auth)
        assert reply.status == 200, reply.json
        assert set(reply.json) == {"items", "next_cursor"}
        found.append(reply.json["items"])
        cursor = reply.json["next_cursor"]
        if cursor is None:
            return found
        assert len(found) < 300


async def test_pages_are_the_whole_list_in_its_order(full):
    for endpoint in PAGED:
        if endpoint.name == "list_audit_events":
            continue  # every question adds none, but every world has its own count: below
        (whole,) = await pages(full, endpoint, 1000)
        assert len(whole) >= MANY, endpoint.name
        for limit in (1, 2, 3, len(whole), len(whole) + 1):
            found = await pages(full, endpoint, limit)
            assert [one for page in found for one in page] == whole, (endpoint.name, limit)
            assert all(len(page) == limit for page in found[:-1])
            assert found[-1], endpoint.name  # no empty page at the end


async def test_audit_events_come_newest_first_over_pages(full):
    endpoint = next(e for e in PAGED if e.name == "list_audit_events")
    (whole,) = await pages(full, endpoint, 1000)
    assert len(whole) > 50
    times = [one["at"] for one in whole]
    assert times == sorted(times, reverse=True)
    assert [one for page in await pages(full, endpoint, 7) for one in page] == whole
    for name, value in (("action", "certificates.issue"), ("actor", "client:portal"), ("outcome", "ok")):
        path = f"{path_of(full, endpoint)}?limit=1000&{name}={value}"
        some = (await full.good("GET", path, auth=full.operator))["items"]
        assert some == [one for one in whole if one[name] == value]


async def test_certificates_come_newest_first_and_others_by_name(full):
    serials = (await full.good("GET", "certificates", auth=full.operator))["items"]
    issued = [one["issued_at"] for one in serials]
    assert issued == sorted(issued, reverse=True)
    names = [one["client_id"] for one in (await full.good("GET", "clients", auth=full.operator))["items"]]
    assert names == sorted(names)


async def test_a_page_does_not_repeat_what_was_seen_when_rows_come_and_go(full):
    first = await full.good("GET", "clients?limit=3", auth=full.operator)
    await full.good("DELETE", f"clients/{first['items'][0]['client_id']}", auth=full.operator)
    await full.good("POST", "clients", auth=full.operator, json={"client_id": "a0"})
    rest = await full.good("GET", f"clients?cursor={first['next_cursor']}", auth=full.operator)
    seen = [one["client_id"] for one in [*first["items"], *rest["items"]]]
    assert len(seen) == len(set(seen)) == MANY + 1


async def test_a_cursor_carries_no_right(full):
    """The cursor of an operator's list shows a user nothing but what is theirs."""
    given = (await full.good("GET", "users?limit=1", auth=full.operator))["next_cursor"]
    for who in ("alice",):
        items = (await full.good("GET", f"users?cursor={given}", auth=full.sessions[who]))["items"]
        assert {one["user"] for one in items} <= {who}
    elsewhere = await full.good("GET", f"users?cursor={given}", auth=full.operator, tenant="t1")
    assert elsewhere["items"] == []


def cursor(*key):
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


BAD = [
    *("x", "====", "nonsense!", "%C3%A9", "%00", "W10", "bnVsbA", "e30", "MQ", "_" * 512),
    cursor("default", "a", "b", "c"),
    cursor(1, 2),
    cursor("default", None),
    cursor("default", ["a"]),
    cursor("default", "a\0"),
    cursor("\0", "\0"),
    cursor(2**63),
    cursor(-(2**63) - 1),
    cursor(1.5),
    cursor(True),
    cursor(2**63, "default", 1),
    cursor(1, "a\0", 1),
]


async def test_a_cursor_that_was_not_given_out_is_400(world):
    for endpoint in PAGED:
        for bad in BAD:
            path = f"{path_of(world, endpoint)}?cursor={bad}"
            reply = await world.call("GET", path, auth=credential(world, endpoint))
            assert (reply.status, reply.code) == (400, "bad_cursor"), (endpoint.name, bad, reply.json)
    for length, code in ((0, "invalid_request"), (513, "invalid_request")):
        reply = await world.call("GET", f"clients?cursor={'A' * length}", auth=world.operator)
        assert (reply.status, reply.code) == (400, code)
