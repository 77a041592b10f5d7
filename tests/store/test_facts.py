"""The facts of a decision: one statement, one snapshot, and right for whatever is missing, disabled or revoked."""

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from sqlalchemy import Delete, delete, insert, text, update

from tms_ca.core.facts import KeyStanding
from tms_ca.core.model import DelegationStatus, KeyState, PrincipalFormat
from tms_ca.core.publickey import parse_public_key
from tms_ca.store import tables as t
from tms_ca.store.facts_sql import MOST_DELEGATIONS

ALICE = {"tenant": "default", "client_id": "portal", "user": "alice", "host": "h1", "account": "alice"}


@pytest.fixture
def reader(world):
    return world.context.issuance._facts._reader


@pytest.fixture
def fingerprint(world) -> str:
    return parse_public_key(world.issue_body()["public_key"]).fingerprint


async def write(world, *statements) -> None:
    async with world.context.directory._database.engine.begin() as connection:
        for statement in statements:
            await connection.execute(statement)


async def test_all_is_there(world, reader, fingerprint):
    facts = await reader.for_issue(**ALICE, fingerprint=fingerprint)
    now = world.clock.now()
    assert facts.tenant.enabled
    assert (facts.tenant.default_ttl_seconds, facts.tenant.max_ttl_seconds) == (3600, 8 * 3600)
    assert (facts.client.enabled, facts.client.revoked) == (True, False)
    assert (facts.user.enabled, facts.user.revoked, facts.user.mfa_verified_at) == (True, False, now)
    assert (facts.host.enabled, facts.host.principal_format) == (True, PrincipalFormat.ACCOUNT_AT_HOST)
    assert facts.link.expires_at == now + 365 * 86400
    (delegation,) = facts.delegations
    assert delegation.delegation_id == world.delegation["id"]
    assert (delegation.status, delegation.expires_at) == (DelegationStatus.APPROVED, now + 30 * 86400)
    assert facts.ca_key.fingerprint.startswith("SHA256:")
    assert facts.key_standing is None


async def test_another_tenants_name_is_no_tenant(reader, fingerprint):
    assert await reader.for_issue(**{**ALICE, "tenant": "nowhere"}, fingerprint=fingerprint) is None
    assert await reader.for_login("nowhere", "h1", 1) is None


NAMES = [
    ("client_id", "other", {"client", "delegations"}), ("user", "bob", {"user", "link", "delegations"}),
    ("host", "h2", {"host", "link"}), ("account", "root", {"link"}), ("client_id", "Portal", {"client", "delegations"}),
    ("user", "%", {"user", "link", "delegations"}), ("host", "H1", {"host", "link"}), ("account", "_lice", {"link"}),
]  # fmt: skip


async def test_another_name_takes_away_what_belongs_to_it_and_nothing_else(reader, fingerprint):
    whole = await reader.for_issue(**ALICE, fingerprint=fingerprint)
    for name, value, gone in NAMES:
        missing = {one: () if one == "delegations" else None for one in gone}
        found = await reader.for_issue(**{**ALICE, name: value}, fingerprint=fingerprint)
        assert found == replace(whole, **missing), (name, value)


@asynccontextmanager
async def while_it_lasts(world, statement):
    """Change every row of a table, and put the old ones back at the end."""
    table = statement.table
    key = list(table.primary_key.columns)
    async with world.context.directory._database.read() as connection:
        old = [dict(row) for row in (await connection.execute(table.select())).mappings()]
    await write(world, statement)
    yield
    for row in old:
        if isinstance(statement, Delete):
            await write(world, insert(table).values(**row))
        else:
            await write(world, update(table).where(*(column == row[column.name] for column in key)).values(**row))


CHANGES = {
    "tenant disabled": (update(t.tenants).values(enabled=False), "tenant", {"enabled": False}),
    "client disabled": (update(t.clients).values(enabled=False), "client", {"enabled": False}),
    "client revoked": (update(t.clients).values(revocation_id="rev_1"), "client", {"revoked": True}),
    "client ends": (update(t.clients).values(expires_at=9, max_ttl_seconds=7), "client", {"expires_at": 9, "max_ttl_seconds": 7}),
    "user disabled": (update(t.users).values(enabled=False), "user", {"enabled": False}),
    "user revoked": (update(t.users).values(revocation_id="rev_1"), "user", {"revoked": True}),
    "no MFA": (update(t.users).values(mfa_verified_at=None), "user", {"mfa_verified_at": None}),
    "host disabled": (update(t.hosts).values(enabled=False), "host", {"enabled": False}),
    "host revoked": (update(t.hosts).values(revocation_id="rev_1"), "host", {"revoked": True}),
    "host's format": (update(t.hosts).values(principal_format="account"), "host", {"principal_format": PrincipalFormat.ACCOUNT}),
    "no link": (delete(t.account_links), "link", None),
    "link ends": (update(t.account_links).values(starts_at=3, expires_at=4), "link", {"starts_at": 3, "expires_at": 4}),
}  # fmt: skip


async def test_a_change_shows_in_its_own_place_for_issues_and_for_logins(world, reader, fingerprint):
    serial = int((await world.issue()).json["serial"])
    issue = await reader.for_issue(**ALICE, fingerprint=fingerprint)
    login = await reader.for_login("default", "h1", serial)
    for change, (statement, name, values) in CHANGES.items():
        async with while_it_lasts(world, statement):
            for before, after in (
                (issue, await reader.for_issue(**ALICE, fingerprint=fingerprint)),
                (login, await reader.for_login("default", "h1", serial)),
            ):
                expected = None if values is None else replace(getattr(before, name), **values)
                assert after == replace(before, **{name: expected}), change
        assert await reader.for_login("default", "h1", serial) == login


AT_LOGIN = [
    (update(t.ca_keys).values(state="retired"), {"ca_key_state": KeyState.RETIRED}),
    (update(t.ca_keys).values(state="retiring"), {"ca_key_state": KeyState.RETIRING}),
    (update(t.ca_keys).values(revocation_id="rev_1"), {"ca_key_revoked": True}),
    (delete(t.ca_keys), {"ca_key_state": None}),
    (delete(t.delegations), {"delegation": None}),
]


async def test_what_a_certificate_rests_on_is_seen_at_the_login(world, reader):
    serial = int((await world.issue()).json["serial"])
    before = await reader.for_login("default", "h1", serial)
    assert (before.issued.user, before.issued.host, before.issued.principals) == ("alice", "h1", ("alice@h1",))
    for change, expected in AT_LOGIN:
        async with while_it_lasts(world, change):
            assert await reader.for_login("default", "h1", serial) == replace(before, **expected)


async def test_an_unknown_serial_and_a_revoked_one(world, reader):
    issued = (await world.issue()).json
    unknown = await reader.for_login("default", "h1", 1)
    assert (unknown.issued, unknown.client, unknown.user, unknown.delegation) == (None, None, None, None)
    assert unknown.host is not None
    await world.good("POST", "revocations", auth=world.operator, json={"serial": issued["serial"], "reason": "x"})
    assert (await reader.for_login("default", "h1", int(issued["serial"]))).issued.revoked


async def test_the_ca_key_is_the_active_one_for_users_alone(world, reader, fingerprint):
    whole = await reader.for_issue(**ALICE, fingerprint=fingerprint)
    await write(world, update(t.ca_keys).where(t.ca_keys.c.purpose == "user").values(state="retiring"))
    assert await reader.for_issue(**ALICE, fingerprint=fingerprint) == replace(whole, ca_key=None)


STANDINGS = [
    ("ca", "*", KeyStanding.CA), ("host", "default", KeyStanding.HOST), ("revoked", "default", KeyStanding.REVOKED),
    ("revoked", "elsewhere", None), ("host", "elsewhere", None),
]  # fmt: skip


async def test_a_forbidden_key_is_seen_everywhere_or_in_its_tenant(world, reader, fingerprint):
    serial = int((await world.issue()).json["serial"])
    for standing, tenant, seen in STANDINGS:
        values = {"fingerprint": fingerprint, "standing": standing, "tenant": tenant}
        await write(world, insert(t.forbidden_keys).values(**values))
        assert (await reader.for_issue(**ALICE, fingerprint=fingerprint)).key_standing is seen
        assert (await reader.for_issue(**ALICE, fingerprint="SHA256:other")).key_standing is None
        assert (await reader.for_login("default", "h1", serial)).key_standing is seen
        await write(world, delete(t.forbidden_keys).where(t.forbidden_keys.c.fingerprint == fingerprint))


async def test_the_right_delegation_is_looked_at_among_very_many(world, reader, fingerprint):
    """Those for other hosts and accounts, and those that ended, come after those that matter."""
    async with world.context.directory._database.read() as connection:
        row = dict((await connection.execute(t.delegations.select())).mappings().one())
    noise = [
        {"host": "h2", "host_like": "h2"}, {"account": "bob", "account_like": "bob"}, {"status": "revoked"},
        {"host": "h_", "host_like": "h\\_"}, {"host": "h%", "host_like": "h\\%"}, {"status": "pending"},
    ]  # fmt: skip
    many = [
        row | {"delegation_id": f"dlg_{number}", "user_code": f"c{number}", "expires_at": row["expires_at"] + 1}
        | noise[number % len(noise)] for number in range(3 * MOST_DELEGATIONS)
    ]  # fmt: skip
    await write(world, insert(t.delegations).values(many))
    facts = await reader.for_issue(**ALICE, fingerprint=fingerprint)
    assert len(facts.delegations) == MOST_DELEGATIONS
    assert facts.delegations[0].delegation_id == row["delegation_id"]
    assert (await world.issue()).status == 201


async def test_a_pattern_is_found_as_it_is_meant(world, reader, fingerprint):
    await write(world, update(t.delegations).values(host="h*", host_like="h%", account="*", account_like="%"))
    assert (await world.issue()).status == 201


async def test_issue_and_login_never_scan_a_table(world, reader, database_kind):
    """A full scan would make each answer slower with every certificate and user there is."""
    if database_kind != "sqlite":
        return  # the plan of a PostgreSQL with hardly a row says nothing
    async with world.context.directory._database.read() as connection:
        keys = world.context.plain_keys._reader._prepared
        for prepared in (reader._issue, reader._login, reader._reservation, reader._credential, reader._session, keys):
            values = tuple(None for _ in prepared.names)
            plan = (await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {prepared.sql}", values)).all()
            steps = [step.detail for step in plan]
            assert steps
            assert [step for step in steps if step.startswith("SCAN")] == [], steps
        scanned = (await connection.execute(text("EXPLAIN QUERY PLAN SELECT * FROM certificates"))).all()
        assert scanned[0].detail.startswith("SCAN"), "the word that is looked for is the wrong one"


async def test_one_statement_for_one_decision(world, reader, fingerprint):
    asked = []
    driver = reader._driver

    class Counting:
        dialect = driver.dialect

        async def fetch(self, prepared, args):
            asked.append(prepared.sql)
            return await driver.fetch(prepared, args)

    reader._driver = Counting()
    await reader.for_issue(**ALICE, fingerprint=fingerprint)
    await reader.for_login("default", "h1", 1)
    assert len(asked) == 2


async def test_certificates_share_the_names_that_they_have_in_common(world, reader):
    serials = [int((await world.issue()).json["serial"]) for _ in range(2)]
    (_, _, one), (_, _, other) = [await reader.issued("default", serial) for serial in serials]
    for name in ("client_id", "user", "host", "account", "delegation_id", "ca_fingerprint"):
        assert getattr(one, name) is getattr(other, name), name
    assert (one.user, one.host, one.client_id) == ("alice", "h1", "portal")
    assert one.sha256 != other.sha256
