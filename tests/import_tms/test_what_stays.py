"""Whatever cannot come is named with its reason, and takes nothing else with it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.import_tms.conftest import Bring, reasons
from tests.import_tms.old import DAY, WELL_KNOWN, Old, hashed, new_key
from tests.tms_v1.wire import Tms
from tests.world import ssh_keygen
from tms_ca.cli.init import local_operator
from tms_ca.store import rows
from tms_ca.store.tms_source import SourceError, old_time, read_source

RESERVED = "99999999-2222-4333-8444-55555555555"


async def test_each_row_that_cannot_come_is_named(tms: Tms, old: Old, bring: Bring, old_url, tmp_path: Path):
    portal = ("default", "portal")
    directory = tms.world.context.directory
    await directory.change(local_operator(), rows.CLIENTS, portal, app_name="used", app_version="1.0")
    old.everything()
    weak = ssh_keygen(tmp_path, "weak", "-t", "rsa", "-b", "2048").public
    same, its_fingerprint = new_key()
    old.tenant("Upper")
    old.user("lost", tenant="Upper")
    old.user("nobodys", tenant=None)
    old.admin("~~", secret="x" * 48)
    old.client("no blanks allowed", "x1")
    old.client("twice", "2" * 48)
    old.client("copy", "2" * 48)
    old.client("seeded", client_secret=WELL_KNOWN)
    old.client("odd", client_secret="not a hash")
    old.client("namesake", "n" * 48, app_name="used", app_version="1.0")
    old.user("o'brien")
    old.user("*")
    old.user("when", expires_at="yesterday")
    old.link("alice", "Stampede3")
    old.link("alice", "h1", "root")
    old.link("alice", "h1", "Al Ice")
    old.link("o'brien", "h1", "obrien")
    old.link("alice", "h2")
    old.delegation("no blanks allowed")
    old.delegation("portal", "*")
    ended = old.key(expires_at=old.now - 1)
    unlinked = old.key(host="h3")
    undelegated = old.key(client_id="twice")
    old.key(public_key=weak, public_key_fingerprint="SHA256:weak")
    old.key(public_key="ssh-dss AAAA", public_key_fingerprint="SHA256:dss")
    old.key(public_key=new_key()[0], public_key_fingerprint="SHA256:other")
    good = old.key(public_key=same, public_key_fingerprint=its_fingerprint)
    old.key(public_key=same, public_key_fingerprint=its_fingerprint, host="h2")
    old.reservation(f"{RESERVED}1", good)
    old.reservation(f"{RESERVED}2", good, expires_at=old.now - 1)
    old.reservation(f"{RESERVED}3", ended)
    old.reservation(f"{RESERVED}4", good, f"{RESERVED}9")
    old.reservation(f"{RESERVED}5", good, f"{RESERVED}1")
    old.reservation(f"{RESERVED}6", good, f"{RESERVED}5")
    old.reservation(f"{RESERVED}7", good, client_id="twice")
    old.reservation("not-a-uuid", good)
    old.add("hosts", host="no such name", addr="192.0.2.1")
    report = await bring(old_url())
    expected = {
        "tenants": {"tenant=Upper": "cannot be the name of a tenant here"},
        "admin": {"admin_user=~~": "cannot be the name of an admin here"},
        "clients": {
            "client_id=no blanks allowed": "cannot be the name of a client here",
            "client_id=namesake": "are those of client 'portal' here",
        },
        "user_mfa": {
            "tms_user_id=lost": "'Upper' cannot be the name of a tenant here",
            "tms_user_id=nobodys": "it belongs to no tenant",
            "tms_user_id=o'brien": "cannot be the name of a user here",
            "tms_user_id=*": "cannot be the name of a user here",
            "id=6": "expected a time such as 2026-05-05T12:34:56Z, got 'yesterday'",
        },
        "user_hosts": {
            "tms_user_id=alice host=Stampede3 host_account=alice": "cannot be the name of a host here",
            "tms_user_id=alice host=h1 host_account=root": "is an account of the system",
            "tms_user_id=alice host=h1 host_account=Al Ice": "cannot be the name of an account here",
            "tms_user_id=o'brien host=h1 host_account=obrien": "its user has not come",
        },
        "delegations": {
            "client_id=no blanks allowed client_user_id=alice": "its client has not come",
            "client_id=portal client_user_id=*": "its user has not come",
        },
        "pubkeys": {
            f"client_id=portal host=h1 fingerprint={ended}": "ended: not imported",
            f"client_id=portal host=h3 fingerprint={unlinked}": "its user_hosts row has not come",
            f"client_id=twice host=h1 fingerprint={undelegated}": "its delegation has not come",
            "client_id=portal host=h1 fingerprint=SHA256:weak": "an RSA key needs at least 3072 bits",
            "client_id=portal host=h1 fingerprint=SHA256:dss": "keys of type 'ssh-dss' are not allowed",
            "client_id=portal host=h1 fingerprint=SHA256:other": "not the one that is stored with it",
            f"client_id=portal host=h2 fingerprint={its_fingerprint}": "the same public key is here for another",
        },
        "reservations": {
            f"resid={RESERVED}2": "ended: not imported",
            f"resid={RESERVED}3": "its key has not come, or is gone",
            f"resid={RESERVED}4": "has not come, or is gone",
            f"resid={RESERVED}6": "its parent is itself a child",
            f"resid={RESERVED}7": "its key is for another user, client or host",
            "resid=not-a-uuid": "its id is no UUID",
        },
        "hosts": {"host=no such name addr=192.0.2.1": "cannot be the name of a host here"},
    }
    for table, named in expected.items():
        said = reasons(report, table)
        assert said.keys() == named.keys(), table
        for name, reason in named.items():
            assert reason in said[name], (name, said[name])
        tally = report.tables[table]
        assert tally.left == len(named)
        assert tally.found == tally.came + tally.here + tally.left
    part = {one["name"]: one["reason"] for one in report.as_object()["in_part"]}
    assert "it is another's, too" in part.pop("client_id=copy")
    assert "well-known secret" in part.pop("client_id=seeded")
    assert "no SHA-512" in part.pop("client_id=odd")
    assert not part
    # What is wrong with one row leaves the others alone.
    ask = {"user": "alice", "host": "h1", "public_key_fingerprint": good}
    await tms.good("POST", "pubkeys/creds/retrieve", None, ask)
    for wrong in ("secret1", "not a hash"):
        headers = {"X-TMS-TENANT": "default", "X-TMS-CLIENT-ID": "seeded", "X-TMS-CLIENT-SECRET": wrong}
        await tms.no("GET", "pubkeys/list", headers, None, 401)


async def test_a_key_that_was_revoked_here_does_not_come_back(tms: Tms, old: Old, bring: Bring, old_url):
    key = old.everything()
    body = {"public_key_fingerprint": key, "reason": "stolen"}
    await tms.world.good("POST", "revocations", auth=tms.world.operator, json=body)
    report = await bring(old_url())
    assert "the public key is revoked here" in reasons(report, "pubkeys")[f"client_id=portal host=h1 fingerprint={key}"]


async def test_who_was_revoked_and_deleted_here_does_not_come_back(tms: Tms, old: Old, bring: Bring, old_url):
    world = tms.world
    await world.add_user("alice", mfa=False)
    await world.add_host("h1")
    for what in ({"user": "alice"}, {"client_id": "portal"}, {"host": "h1"}):
        await world.good("POST", "revocations", auth=world.operator, json={**what, "reason": "stolen"})
    for path in ("users/alice", "clients/portal", "hosts/h1"):
        await world.good("DELETE", path, auth=world.operator)
    old.everything()
    old.user("bob")
    old.link("bob", "h1", "bob")
    old.link("bob", "h2", "bob")
    report = await bring(old_url())
    assert "the user was revoked here" in reasons(report, "user_mfa")["tms_user_id=alice"]
    assert "the client was revoked here" in reasons(report, "clients")["client_id=portal"]
    assert "its host was revoked here" in reasons(report, "user_hosts")["tms_user_id=bob host=h1 host_account=bob"]
    assert report.tables["user_hosts"].came == report.tables["user_mfa"].came == 1  # bob, and his other host


async def test_an_import_takes_no_host_from_the_tenant_that_has_it(tms: Tms, old: Old, bring: Bring, old_url):
    """Whose user hosts are older on the old server has a host first; whoever registered it here had it before them.

    A name that was only written down here is that of a tenant whose host proved itself, if any did, however late.
    """
    await tms.world.add_host("h1")
    mfa = {"tenant": "default", "tms_user_id": "zoe", "ttl_minutes": -1}
    await tms.good("POST", "usermfa", tms.admin, mfa, 201)
    await tms.good("POST", "userhosts", tms.admin, {**mfa, "host": "h3", "host_account": "zoe"}, 201)
    await tms.good("POST", "userhosts", tms.admin, {**mfa, "host": "h4", "host_account": "zoe"}, 201)
    await tms.good("POST", "tenants/late", tms.admin, None, 201)
    tms.clock.move(1)
    await tms.world.good("POST", "hosts", auth=tms.world.operator, json={"host": "h4"}, tenant="late")
    keys = {}
    for at, name in enumerate(("second", "first")):
        old.tenant(name)
        old.client(f"c-{name}", name, tenant=name)
        old.user(tenant=name)
        old.delegation(f"c-{name}", tenant=name)
        for host in ("h1", "h2", "h3", "h4"):
            old.link(tenant=name, host=host, created=old.now - 100 * DAY - at)
            keys[name, host] = old.key(tenant=name, client_id=f"c-{name}", host=host)
    report = await bring(old_url())
    assert report.tables["pubkeys"].came == 8
    given = []
    for (name, host), key in keys.items():
        ask = {"user": "alice", "host": host, "public_key_fingerprint": key}
        if (await tms.call("POST", "pubkeys/creds/retrieve", None, ask)).status == 200:
            given.append((name, host))
    assert given == [("first", "h2")]
    said = {(one["tenant"], one["name"].split()[1], one["reason"].partition(", where")[0]) for one in report.as_object()["notes"]
            if one["table"] == "pubkeys"}  # fmt: skip
    opens = "opens nothing over /v1/tms: the host '{}' is that of tenant '{}'".format
    assert said == {
        ("second", "host=h1", opens("h1", "default")), ("first", "host=h1", opens("h1", "default")),
        ("second", "host=h2", opens("h2", "first")),
        ("second", "host=h3", opens("h3", "default")), ("first", "host=h3", opens("h3", "default")),
        ("second", "host=h4", opens("h4", "late")), ("first", "host=h4", opens("h4", "late")),
    }  # fmt: skip


async def test_a_reservation_lasts_no_longer_than_48_hours(tms: Tms, old: Old, bring: Bring, old_url):
    old.everything()
    key = old.key()
    old.reservation(f"{RESERVED}8", key, expires_at=old.now + 9 * DAY)
    await bring(old_url())
    async with tms.world.context.directory._database.read() as connection:
        row = await connection.exec_driver_sql(
            f"SELECT expires_at FROM reservations WHERE reservation_id = '{RESERVED}8'"
        )  # fmt: skip
        assert row.scalar_one() == old.now + 2 * DAY


@pytest.mark.parametrize(
    ("schema", "said"), [
        ("CREATE TABLE clients (id INTEGER, name TEXT)", "it has no table tenants"),
        ((Path(__file__).parent / "old_sqlite.sql").read_text().replace("addr", "address"), "has no column addr"),
        (None, "cannot be read as an SQLite database"),
    ], ids=["other", "later", "text"],
)  # fmt: skip
async def test_what_is_no_old_database_is_refused(schema, said, tmp_path: Path):
    path = tmp_path / "some.db"
    if schema is None:
        path.write_text("not a database, but long enough to be looked at" * 100)
    else:
        with closing(sqlite3.connect(path)) as database:
            database.executescript(schema)
    with pytest.raises(SourceError, match=said):
        await read_source(f"sqlite:///{path}")


async def test_the_url_is_one_of_an_old_database(tmp_path: Path):
    for url in (f"sqlite:///{tmp_path}/none.db", "mysql://h/db", "nonsense", "sqlite://", "postgresql://h/db?x=1"):
        with pytest.raises(SourceError):
            await read_source(url)
    assert not list(tmp_path.iterdir())


async def test_what_is_said_where_the_old_database_cannot_be_reached(tmp_path: Path):
    for more, said in ((f"?password_file={tmp_path}/none", "the password_file of the database cannot be read"),
                       ("", "no PostgreSQL server: 127.0.0.1:1: ")):  # fmt: skip
        with pytest.raises(OSError, match=r".") as error:
            await read_source(f"postgresql://tms@127.0.0.1:1/tmsdb{more}")
        assert str(error.value).startswith(said)
        assert "takes writes" not in str(error.value)


def test_times_of_the_old_server():
    assert old_time("2026-05-05T12:34:56Z") == old_time("2026-05-05T12:34:56.987654Z") == 1777984496
    assert old_time("2026-05-05T14:34:56+02:00") == old_time("2026-05-05 12:34:56") == 1777984496
    assert old_time("9999-12-31T23:59:59Z") == old_time("+262142-12-31T23:59:59Z") == 253402300799
    assert old_time("9999-12-31T23:59:59-23:59") == 253402300799
    assert old_time("0001-01-01T00:00:00+23:59") == 0
    for wrong in ("", "2026-05-05", "2026-13-05T12:34:56Z", "yesterday", "-0001-01-01T00:00:00Z"):
        with pytest.raises(ValueError, match=r"."):
            old_time(wrong)
    assert hashed("secret1") == WELL_KNOWN
