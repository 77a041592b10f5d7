"""Somebody of the same name who is here already is not given what the old server had for the name."""

import pytest

from tests.import_tms.conftest import Bring, dump, reasons
from tests.import_tms.old import CLIENT_SECRET, DAY, Old
from tests.tms_v1.wire import Tms

GATEWAY = {"X-TMS-TENANT": "default", "X-TMS-CLIENT-ID": "gateway", "X-TMS-CLIENT-SECRET": CLIENT_SECRET}
BEHIND = ("user_hosts", "delegations", "pubkeys", "reservations")
MFA = {"tenant": "default", "tms_user_id": "alice", "ttl_minutes": -1}


async def opens(tms: Tms, key: str, user: str = "alice") -> bool:
    ask = {"user": user, "host": "h1", "public_key_fingerprint": key}
    return (await tms.call("POST", "pubkeys/creds/retrieve", None, ask)).status == 200


async def test_a_user_whom_no_admin_vouches_for_is_given_nothing(tms: Tms, old: Old, bring: Bring, old_url):
    await tms.world.add_user("alice")  # a person with factors of her own, who delegated nothing
    key = old.everything()
    url = old_url()
    report = await bring(url)
    assert "the user is here, without an admin's word on MFA" in reasons(report, "user_mfa")["tms_user_id=alice"]
    for table in BEHIND:
        assert set(reasons(report, table).values()) == {"its user is here, and not by an import; see user_mfa"}, table
        assert report.tables[table].came == 0
    assert "alice" not in str(await tms.good("GET", "delegations/list", tms.admin))
    assert not await opens(tms, key)

    await tms.good("POST", "usermfa", tms.admin, MFA, 201)  # an admin vouches for her
    assert (await bring(url)).whole
    assert await opens(tms, key)

    await tms.good("DELETE", "usermfa/del/alice", tms.admin)  # and takes it back: she keeps her account
    before = await dump(tms)
    report = await bring(url)
    assert all(report.tables[table].came == 0 for table in BEHIND)
    assert await dump(tms) == before
    assert not await opens(tms, key)


async def test_another_client_of_the_name_is_given_nothing(tms: Tms, old: Old, bring: Bring, old_url):
    key = old.everything()
    url = old_url()
    report = await bring(url, adopted=["gateway"])
    assert "if it is the same application: --adopt-client portal" in reasons(report, "clients")["client_id=portal"]
    for table in BEHIND[1:]:
        assert set(reasons(report, table).values()) == {"its client is here, and not by an import; see clients"}, table
    assert report.tables["user_hosts"].came == 1
    assert (await tms.good("GET", "pubkeys/list", tms.client))["pubkeys"] == []
    assert not await opens(tms, key)

    report = await bring(url, adopted=["portal"])
    assert report.whole
    (differs,) = report.as_object()["differs"]
    assert differs["reason"] == "the old server's secret is none of its secrets here"
    assert await opens(tms, key)


@pytest.mark.parametrize("since", ["nothing", "first use", "new secret", "anew"])
async def test_a_client_that_came_by_an_import_is_known_again(since: str, tms: Tms, old: Old, bring: Bring, old_url):
    old.tenant()
    old.client("gateway")
    old.user()
    old.link()
    old.delegation("gateway")
    old.user("bob")
    old.link("bob", account="bob")
    assert (await bring(old_url(), adopted=[])).whole
    if since == "first use":  # the secret is kept in another form from then on
        await tms.good("GET", "pubkeys/list", GATEWAY)
    elif since == "new secret":
        await tms.good("PATCH", "client/upd/gateway?app_version=2.0", GATEWAY)
        await tms.good("PATCH", "client/secret/gateway", GATEWAY)
    elif since == "anew":  # somebody else takes the name that came free
        await tms.good("DELETE", "client/del/gateway", GATEWAY)
        await tms.new_client("gateway")
    old.delegation("gateway", "bob")
    key = old.key(client_id="gateway", client_user_id="bob", host_account="bob", created=old.now - DAY)
    report = await bring(old_url("later"), adopted=[])
    assert (report.tables["pubkeys"].came, report.tables["pubkeys"].left) == ((0, 1) if since == "anew" else (1, 0))
    assert await opens(tms, key, "bob") is (since != "anew")
    assert bool(reasons(report, "clients")) is (since == "anew")
