"""An old installation comes whole: its clients, hosts and programs go on, and a second run changes nothing."""

import asyncio
from itertools import count
from pathlib import Path

import pytest

from schemas.base import rfc3339
from tests.fakes import FakeClock
from tests.import_tms.conftest import Bring, dump
from tests.import_tms.old import ADMIN_SECRET, CLIENT_SECRET, DAY, NEVER, Old
from tests.tms_v1.wire import Headers, Tms
from tms_ca.http.tms_v1.answers import date
from tms_ca.services import importing
from tms_ca.store import imports

RESERVED, CHILD = "11111111-2222-4333-8444-555555555555", "22222222-2222-4333-8444-555555555555"


def client(tenant: str = "default", client_id: str = "gateway", secret: str = CLIENT_SECRET) -> Headers:
    return {"X-TMS-TENANT": tenant, "X-TMS-CLIENT-ID": client_id, "X-TMS-CLIENT-SECRET": secret}


def admin(tenant: str = "physics", secret: str = ADMIN_SECRET) -> Headers:
    return {"X-TMS-TENANT": tenant, "X-TMS-ADMIN-ID": "~~admin", "X-TMS-ADMIN-SECRET": secret}


def whole(old: Old) -> str:
    """Everything, in a tenant that is not here; the client's secret is its own."""
    old.tenant("physics")
    for add in (old.admin, old.user, old.link):
        add(tenant="physics")
    old.client("gateway", tenant="physics")
    old.delegation("gateway", tenant="physics")
    key = old.key(tenant="physics", client_id="gateway", id=41)
    old.key(tenant="physics", client_id="gateway", id=42, max_uses=5, remaining_uses=3, expires_at=old.now + DAY)
    old.reservation(CHILD, key, RESERVED, tenant="physics", client_id="gateway", id=1)
    old.reservation(RESERVED, key, tenant="physics", client_id="gateway", id=2)
    old.add("hosts", tenant="physics", host="h1", addr="192.0.2.*")
    return key


@pytest.mark.parametrize("source", ["sqlite", "postgres"])
async def test_everything_comes_and_works(
    source: str, tms: Tms, old: Old, bring: Bring, tmp_path: Path, clock: FakeClock, request: pytest.FixtureRequest
):
    key = whole(old)
    if source == "sqlite":
        url = old.sqlite(tmp_path / "old.db")
    else:
        url = await old.postgres(await request.getfixturevalue("postgres").fresh(template="template0"))
    report = await bring(url)
    assert report.whole, report.remarks
    assert {name: (one.found, one.came) for name, one in report.tables.items()} == {
        "tenants": (1, 1), "admin": (1, 1), "clients": (1, 1), "user_mfa": (1, 1), "user_hosts": (1, 1),
        "delegations": (1, 1), "pubkeys": (2, 2), "reservations": (2, 2), "hosts": (1, 1),
    }  # fmt: skip

    # The old secret, twice: the first use keeps it in another form.
    for _ in range(2):
        listed = await tms.good("GET", "pubkeys/list", client("physics"))
    kept = {one["id"]: one for one in listed["pubkeys"]}
    assert kept.keys() == {41, 42}
    assert (kept[41]["max_uses"], kept[41]["expires_at"]) == (2**31 - 1, "9999-12-31T23:59:59+00:00")
    assert (kept[42]["max_uses"], kept[42]["remaining_uses"]) == (5, 3)
    assert kept[41]["public_key_fingerprint"] == key
    assert kept[42]["expires_at"] == date(old.now + DAY)
    assert kept[42]["created"] == kept[42]["updated"] == date(old.now - 30 * DAY)
    await tms.no("GET", "pubkeys/list", client("physics", secret="d" * 48), None, 401)

    wanted = {"client_user_id": "alice", "host": "h1", "host_account": "alice", "num_uses": -1, "ttl_minutes": 60}
    await tms.good("POST", "pubkeys/creds", client("physics"), wanted, 201)

    found = await tms.good("GET", f"reservations/gateway/{CHILD}", client("physics"))
    assert (found["parent_resid"], found["expires_at"]) == (RESERVED, date(old.now + DAY))

    for path in ("usermfa/list", "userhosts/list", "delegations/list", "hosts/list"):
        await tms.good("GET", path, admin())
    link = await tms.good("GET", "userhosts/1", admin())
    assert (link["host_account"], link["expires_at"]) == ("alice", date(old.now + 30 * DAY))
    delegation = await tms.good("GET", "delegations/1", admin())
    assert (delegation["client_id"], delegation["expires_at"]) == ("gateway", date(old.now + 20 * DAY))
    assert (await tms.good("GET", "usermfa/alice", admin()))["expires_at"] == date(old.now + DAY)
    await tms.no("GET", "usermfa/list", admin(secret="b" * 48), None, 401)

    ask = {"user": "alice", "host": "h1", "public_key_fingerprint": key}
    assert (await tms.good("POST", "pubkeys/creds/retrieve", None, ask))["public_key"].startswith("ssh-ed25519 ")
    await tms.no("POST", "pubkeys/creds/retrieve", None, {**ask, "user": "bob"}, 404)


async def test_what_the_old_server_overlooked_counts_here(tms: Tms, old: Old, bring: Bring, old_url):
    """The same rows with one thing wrong in each tenant, and the key opens nothing; with none, it does."""
    past = old.now - 1
    cases = {
        "good": {}, "user-off": {"user": {"enabled": False}}, "user-ended": {"user": {"expires_at": past}},
        "link-ended": {"link": {"expires_at": past}}, "delegation-ended": {"delegation": {"expires_at": past}},
        "client-off": {"client": {"enabled": False}}, "used-up": {"key": {"max_uses": 4, "remaining_uses": 0}},
    }  # fmt: skip
    keys = {}
    for name, wrong in cases.items():
        old.tenant(name)
        old.client(f"gateway-{name}", secret=name, tenant=name, **wrong.get("client", {}))
        old.user(tenant=name, **wrong.get("user", {}))
        old.link(tenant=name, host=name, **wrong.get("link", {}))
        old.delegation(f"gateway-{name}", tenant=name, **wrong.get("delegation", {}))
        keys[name] = old.key(tenant=name, client_id=f"gateway-{name}", host=name, **wrong.get("key", {}))
    report = await bring(old_url())
    assert report.tables["pubkeys"].came == len(cases)
    for name, key in keys.items():
        ask = {"user": "alice", "host": name, "public_key_fingerprint": key}
        if name == "good":
            await tms.good("POST", "pubkeys/creds/retrieve", None, ask)
        else:
            assert await tms.no("POST", "pubkeys/creds/retrieve", None, ask, 404) == "NOT_FOUND"
    notes = {one["name"]: one["reason"] for one in report.as_object()["notes"]}
    assert "here it cannot before an admin enables it" in notes["client_id=gateway-client-off"]
    shut = {name: notes.get(f"client_id=gateway-{name} host={name} fingerprint={key}") for name, key in keys.items()}
    assert shut.pop("good") is None
    assert all(one.startswith("opens nothing here: its ") for one in shut.values())
    assert len(set(shut.values())) == len(shut)


async def test_a_second_import_changes_nothing(tms: Tms, old: Old, bring: Bring, old_url):
    whole(old)
    url = old_url()
    assert (await bring(url)).whole
    before = await dump(tms)
    again = await bring(url)
    assert await dump(tms) == before
    assert again.whole
    assert not again.remarks
    assert all(one.here == one.found and one.came == 0 for one in again.tables.values())


async def test_a_dry_run_says_the_same_and_writes_nothing(tms: Tms, old: Old, bring: Bring, old_url):
    whole(old)
    old.user("no such name")
    url = old_url()
    before = await dump(tms)
    said = (await bring(url, dry_run=True)).as_object()
    assert await dump(tms) == before
    done = (await bring(url)).as_object()
    assert {**said, "dry_run": False} == done
    assert await dump(tms) != before


async def test_what_the_operator_changed_since_stays_and_is_named(tms: Tms, old: Old, bring: Bring, old_url):
    old.everything()
    url = old_url()
    assert "portal" in reasons_or_differences(await bring(url))  # the service's own client of that name
    boss = tms.admin
    await tms.good("PATCH", "userhosts/upd", boss, {
        "tenant": "default", "tms_user_id": "alice", "host": "h1", "host_account": "alice", "ttl_minutes": 5,
    })  # fmt: skip
    await tms.good("PATCH", "usermfa/upd", boss, {"tenant": "default", "tms_user_id": "alice", "enabled": False})
    before = await dump(tms)
    again = await bring(url)
    assert await dump(tms) == before
    said = {(one["table"], one["reason"]) for one in again.as_object()["differs"]}
    ends = [f"ends {rfc3339(old.now + 30 * DAY)} on the old server, {rfc3339(old.now + 300)} here"]
    assert [reason for table, reason in said if table == "user_hosts"] == ends
    assert ("user_mfa", "is enabled on the old server, disabled here") in said


def reasons_or_differences(report) -> str:
    return " ".join(f"{one.name} {one.reason}" for one in report.remarks)


async def test_one_tenant_alone(tms: Tms, old: Old, bring: Bring, old_url):
    whole(old)
    old.tenant("chemistry", enabled=False)
    old.user("bob", tenant="chemistry")
    report = await bring(old_url(), "chemistry")
    assert report.tables["user_mfa"].found == report.tables["user_mfa"].came == 1
    operator = tms.world.operator
    made = await tms.world.good("GET", "/api/v1/tenants/chemistry", auth=operator)
    assert made["enabled"] is False
    assert (await tms.world.call("GET", "/api/v1/tenants/physics", auth=operator)).status == 404


async def test_many_rows_come_in_several_transactions(tms: Tms, old: Old, bring: Bring, old_url):
    old.tenant("physics")
    for at in range(1200):
        old.user(f"user{at}", tenant="physics", expires_at=NEVER)
        old.link(f"user{at}", f"h{at % 3}", f"user{at}", tenant="physics")
    report = await bring(old_url())
    assert report.tables["user_hosts"].came == report.tables["user_mfa"].came == 1200
    audit = await tms.world.context.auditing.verify()
    assert not audit.faults
    assert audit.events > 2400


async def test_a_run_that_was_cut_off_is_repeated(
    tms: Tms, old: Old, bring: Bring, old_url, monkeypatch: pytest.MonkeyPatch
):
    old.tenant("physics")
    old.client("gateway", tenant="physics")
    for at in range(300):
        old.user(f"user{at}", tenant="physics")
    url = old_url()
    monkeypatch.setattr(importing, "AT_ONCE", 20)
    keep, calls = imports.keep_numbers, count()

    async def cut_off(*args):
        if next(calls) == 5:  # in the midst of a transaction
            running.cancel()
        await keep(*args)

    with monkeypatch.context() as patch:
        patch.setattr(imports, "keep_numbers", cut_off)
        running = asyncio.create_task(bring(url))
        with pytest.raises(asyncio.CancelledError):
            await running
    there = len((await dump(tms))["users"])
    assert 0 < there < 300
    assert there % 20 == 19  # whole transactions, the client in the first
    report = await bring(url)
    assert report.whole
    assert (report.tables["user_mfa"].here, report.tables["user_mfa"].came) == (there, 300 - there)
    await tms.good("GET", "pubkeys/list", client("physics"))
