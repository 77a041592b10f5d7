"""What came is called by the number that it had; nothing that is made afterwards is called by the same."""

from tests.import_tms.conftest import Bring
from tests.import_tms.old import ADMIN_SECRET, CLIENT_SECRET, Old
from tests.tms_v1.wire import Tms

CLIENT = {"X-TMS-TENANT": "physics", "X-TMS-CLIENT-ID": "gateway", "X-TMS-CLIENT-SECRET": CLIENT_SECRET}


async def test_new_numbers_keep_clear_of_the_old_ones(tms: Tms, old: Old, bring: Bring, old_url):
    old.tenant("physics")
    old.client("gateway", tenant="physics")
    old.user(tenant="physics")
    old.link(tenant="physics", id=41)
    old.delegation("gateway", tenant="physics")
    for number in (41, 42):
        old.key(tenant="physics", client_id="gateway", id=number)
    assert (await bring(old_url())).whole
    wanted = {"client_user_id": "alice", "host": "h1", "host_account": "alice", "num_uses": 1, "ttl_minutes": 60}
    for _ in range(2):
        await tms.good("POST", "pubkeys/creds", CLIENT, wanted, 201)
    listed = await tms.good("GET", "pubkeys/list", CLIENT)
    numbers = sorted(one["id"] for one in listed["pubkeys"])
    assert len(set(numbers)) == 4
    assert numbers[:2] == [41, 42]
    assert numbers[2] > 42
    for number in numbers:
        assert (await tms.good("GET", f"pubkeys/id/{number}", CLIENT))["id"] == number
    await tms.no("GET", "pubkeys/id/43000", CLIENT, None, 404)


async def test_a_number_that_is_taken_is_not_taken_away(tms: Tms, old: Old, bring: Bring, old_url):
    mfa = {"tenant": "default", "tms_user_id": "zoe", "ttl_minutes": 9}
    await tms.good("POST", "usermfa", tms.admin, mfa, 201)
    taken = (await tms.good("GET", "usermfa/zoe", tms.admin))["id"]
    old.tenant()
    old.user("alice", id=taken)
    old.user("bob", id=taken + 1000)
    report = await bring(old_url())
    (note,) = report.as_object()["notes"]
    assert note["reason"] == f"the id {taken} is another's here; it has a new one"
    assert (await tms.good("GET", "usermfa/zoe", tms.admin))["id"] == taken
    assert (await tms.good("GET", "usermfa/bob", tms.admin))["id"] == taken + 1000
    assert (await tms.good("GET", "usermfa/alice", tms.admin))["id"] > taken + 1000


async def test_a_tenant_that_is_here_takes_the_number_that_it_had(tms: Tms, old: Old, bring: Bring, old_url):
    before = (await tms.good("GET", "tenants/default", tms.admin))["id"]
    old.add("tenants", tenant="default", enabled=True, id=before + 76)
    old.add("tenants", tenant="physics", enabled=True, id=before + 7)
    url = old_url()
    for _ in range(2):
        assert not (await bring(url)).remarks
        assert (await tms.good("GET", "tenants/default", tms.admin))["id"] == before + 76
    await tms.good("POST", "tenants/chemistry", tms.admin, None, 201)
    listed = (await tms.good("GET", "tenants/list", tms.admin))["tenants"]
    assert len({one["id"] for one in listed}) == len(listed) == 3


async def test_a_tenant_does_not_take_the_number_of_another(tms: Tms, old: Old, bring: Bring, old_url):
    await tms.good("POST", "tenants/chemistry", tms.admin, None, 201)
    listed = (await tms.good("GET", "tenants/list", tms.admin))["tenants"]
    ids = {one["tenant"]: one["id"] for one in listed}
    old.add("tenants", tenant="default", enabled=True, id=ids["chemistry"])
    (note,) = (await bring(old_url())).as_object()["notes"]
    assert note["reason"] == f"the id {ids['chemistry']} is another's here; it has a new one"
    assert (await tms.good("GET", "tenants/default", tms.admin))["id"] == ids["default"]


async def test_a_tenant_keeps_its_number(tms: Tms, old: Old, bring: Bring, old_url):
    old.add("tenants", tenant="physics", enabled=True, id=77)
    old.admin(tenant="physics")
    assert (await bring(old_url())).whole
    admin = {"X-TMS-TENANT": "physics", "X-TMS-ADMIN-ID": "~~admin", "X-TMS-ADMIN-SECRET": ADMIN_SECRET}
    assert (await tms.good("GET", "tenants/physics", admin))["id"] == 77
