"""A value that no column or answer here can hold is named with its row, and the run goes on."""

import sqlite3

from tests.import_tms.conftest import Bring, reasons
from tests.import_tms.old import Old
from tests.tms_v1.wire import Tms

TENANT = {"tenant": "physics"}
LONG = "x" * 20000


async def test_odd_rows_are_named_and_the_run_goes_on(tms: Tms, old: Old, bring: Bring, old_url):
    old.tenant("physics")
    old.user(**TENANT)
    for name, more in {
        "gateway": {}, "nul": {"app_name": "a\0b"}, "long": {"app_name": "y" * 101}, "longer": {"app_name": LONG},
        "escape": {"app_version": "1\x1b[2J"}, "bytes": {}, "old": {"created": "0001-01-01T00:00:00+23:59"},
    }.items():  # fmt: skip
        old.client(name, name, **TENANT, **more)
    old.link(**TENANT, expires_at="9999-12-31T23:59:59-23:59")
    old.link(**TENANT, account="a2", created="1e400")
    old.delegation("gateway", **TENANT)
    mine = {**TENANT, "client_id": "gateway"}
    keys = {
        "plain": old.key(**mine, max_uses=5, remaining_uses=5),
        "too many uses": old.key(**mine, max_uses=5, remaining_uses=2**40),
        "more left than there were": old.key(**mine, max_uses=1, remaining_uses=500),
        "long": old.key(**mine, initial_ttl_minutes=2**31 - 1),
        "odd ttl": old.key(**mine, initial_ttl_minutes=2**70 // 2**8),
        "highest id": old.key(**mine, id=2**63 - 1),
        "last of 32 bits": old.key(**mine, id=2**31 - 1),
        "last that is kept": old.key(**mine, id=2**30),
    }
    url = old_url()
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE clients SET app_name = cast(x'eda080' AS TEXT) WHERE client_id = 'bytes'")
    connection.close()
    report = await bring(url)
    clients = reasons(report, "clients")
    assert "begins 'a\\x00b'; expected UTF-8 without NUL" in clients["id=2"]
    assert "its app_name has 101 characters" in clients["client_id=long"]
    assert "app_name has 20000 characters" in clients["id=4"]
    assert "its app_version has 5 characters, or one that is not printable" in clients["client_id=escape"]
    assert "begins '\\udced" in clients["id=6"]
    assert len(clients) == 5
    assert "expected a time such as" in reasons(report, "user_hosts")["id=2"]
    left = reasons(report, "pubkeys")
    assert left.keys() == {"id=2", "id=5"}
    assert all("expected a whole number of 32 bits" in one for one in left.values())
    assert report.tables["pubkeys"].came == len(keys) - 2
    notes = {one["id"]: one["reason"] for one in report.as_object()["notes"]}
    assert notes == {
        number: f"the id {number} is not 1 to {2**30}; it has a new one" for number in (2**63 - 1, 2**31 - 1)
    }  # fmt: skip

    again = await bring(url)
    assert again.tables["pubkeys"].here == report.tables["pubkeys"].came

    client = {"X-TMS-TENANT": "physics", "X-TMS-CLIENT-ID": "gateway", "X-TMS-CLIENT-SECRET": "gateway"}
    wanted = {"client_user_id": "alice", "host": "h1", "host_account": "alice", "num_uses": 1, "ttl_minutes": 60}
    await tms.good("POST", "pubkeys/creds", client, wanted, 201)
    shown = (await tms.good("GET", "pubkeys/list", client))["pubkeys"]
    assert all(0 < one["id"] < 2**31 for one in shown)
    assert len({one["id"] for one in shown}) == len(shown) == len(keys) - 1
    uses = {one["public_key_fingerprint"]: (one["max_uses"], one["remaining_uses"]) for one in shown}
    assert uses[keys["more left than there were"]] == (1, 1)


async def test_a_high_id_leaves_room_for_new_ones(tms: Tms, old: Old, bring: Bring, old_url):
    """Also where the run ends badly: what a counter has given out, no rollback takes back."""
    old.tenant("physics")
    old.user(**TENANT, id=2**62)
    old.user("bob", **TENANT, id=2**30)
    await bring(old_url())
    for at in range(2):
        mfa = {"tenant": "default", "tms_user_id": f"zoe{at}", "ttl_minutes": 9}
        await tms.good("POST", "usermfa", tms.admin, mfa, 201)
        number = (await tms.good("GET", f"usermfa/zoe{at}", tms.admin))["id"]
        assert 2**30 < number < 2**30 + 10
