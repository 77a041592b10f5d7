"""What the service really asks of its database, in a walk over its endpoints: seeks in indexes, and pages without a sort."""

import asyncio
import re
import sqlite3
from collections import defaultdict

import asyncpg
import pytest

from tests.conftest import running_world
from tests.logins.telling import end_login, open_login, report, told
from tests.scale.fill import fill
from tms_ca.http.routes import ENDPOINTS
from tms_ca.store import tables as t
from tms_ca.store.pages import WINDOW

# Tables that grow with use; the others have a row for each tenant, CA key, admin or process.
GROWING = {table.name for table in t.metadata.sorted_tables} - {
    "tenants", "ca_keys", "admins", "krls", "audit_chains", "totp_factors"
}  # fmt: skip
FILTERS = {
    "user": "scale-u000001", "client_id": "scale-c000", "host": "scale-h00001",
    "selector": "serial", "value": "7", "status": "approved", "action": "certificates.issue", "actor": "client:portal",
    "outcome": "mfa_expired", "parent_id": "00000000-0000-4000-8000-000000000000",
}  # fmt: skip
PAIRS = [("certificates", "user=scale-u000001&client_id=scale-c000"), ("certificates", "client_id=scale-c000&host=h1"),
         ("delegations", "client_id=scale-c000&status=denied"), ("account-links", "user=alice&host=h1"),
         ("revocations", "selector=serial&value=7"), ("audit-events", "action=certificates.issue&outcome=ok")]  # fmt: skip


def lists():
    """Return the name and the filters of every list of a tenant's things."""
    for endpoint in ENDPOINTS:
        if endpoint.query is not None and "limit" in endpoint.query.fields and "/tenants/{tenant}/" in endpoint.path:
            yield endpoint.path.partition("{tenant}/")[2], set(endpoint.query.fields) - {"limit", "cursor"}


# The row of the highest id, and no other: SQLite calls it a scan.
NEWEST = r"SELECT [\w.]+ \s*FROM certificates ORDER BY certificates.id DESC\s+LIMIT 1 OFFSET 0"
# One user's links on one host, which are sorted: there are as many as that user has accounts there.
ONE_ACCOUNT = "account_links.user = 'alice' AND account_links.host = 'h1'"


class Recorder:
    """Every statement that goes to SQLite, with its values, under the step that caused it."""

    def __init__(self):
        self.step = ""
        self.asked = defaultdict(dict)

    def note(self, statement):
        if self.step and statement.lstrip().upper().startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
            self.asked[self.step].setdefault(re.sub(r"'[^']*'|\b\d+\b", "?", statement), statement)

    def patch(self, monkeypatch):
        real = sqlite3.connect

        def connect(*arguments, **options):
            connection = real(*arguments, **options)
            connection.set_trace_callback(self.note)
            return connection

        monkeypatch.setattr(sqlite3, "connect", connect)


async def walk(world, recorder):
    """Do one of everything that hosts, clients, users and admins do."""

    async def at(step, method, path, *, expect=(200, 201, 204), **options):
        recorder.step = step
        reply = await world.call(method, path, **options)
        assert reply.status in expect, (step, reply.status, reply.body)
        return reply

    admin = {"auth": world.operator}
    for name, filters in lists():
        await at(f"list {name}", "GET", name, **admin)
        first = await at(f"list {name}", "GET", f"{name}?limit=1", **admin)
        if first.json["next_cursor"]:
            await at(f"list {name}", "GET", f"{name}?limit=1&cursor={first.json['next_cursor']}", **admin)
        for one in filters:
            value = world.delegation["id"] if one == "delegation_id" else FILTERS[one]
            await at(f"list {name}", "GET", f"{name}?{one}={value}", **admin)
    for name, query in PAIRS:
        await at(f"list {name}", "GET", f"{name}?{query}", **admin)
    for name in ("certificates", "delegations", "logins"):
        await at(f"list {name}", "GET", name, auth=world.clients["portal"])
        await at(f"list {name}", "GET", name, auth=world.sessions["alice"])
    recorder.step = "issue"
    issued = [(await world.issue()).json for _ in range(4)]
    recorder.step = "login"
    for _ in range(3):
        assert (await world.check(issued[0]["certificate"])).status == 200
    await at("settings", "PATCH", "/api/v1/tenants/default", json={"on_revocation": "end"}, **admin)
    recorder.step = "real login"
    bodies = [told(world, one["certificate"]) for one in issued]
    for body in bodies:
        assert (await open_login(world, body)).status == 201
    assert (await end_login(world, bodies[0]["login_id"])).status == 204
    recorder.step = "sessions"
    assert await report(world, *(body["login_id"] for body in bodies[2:])) == []
    assert await report(world, *(body["login_id"] for body in bodies[1:])) == []
    await at("certificate", "GET", f"certificates/{issued[0]['serial']}", auth=world.clients["portal"])
    wish = {"user": "alice", "host": "h1", "account": "alice", "purpose": "run"}
    portal = {"auth": world.clients["portal"]}
    made = await at("reserve", "POST", "reservations", json={**wish, "lifetime_seconds": 3600}, **portal)
    child = await at("reserve", "POST", "reservations", json={**wish, "parent_id": made.json["id"]}, **portal)
    recorder.step = "issue"
    carried = (await world.issue(reservation_id=child.json["id"])).json
    recorder.step = "login"
    assert (await world.check(carried["certificate"])).status == 200
    await at("reservations", "DELETE", f"reservations/{child.json['id']}", **portal)
    await at("reservations", "DELETE", f"reservations/{made.json['id']}?related=true", **portal)
    recorder.step = "session"
    await world.log_in("alice")
    await world.verify("alice")
    recorder.step = "delegate"
    asked = await world.delegate("alice", "portal", "h1", "other")
    await at("user", "GET", "users/alice", **admin)
    await at("delegation", "GET", f"delegations/{asked['id']}", auth=world.clients["portal"])
    await at("krl", "GET", "krl")
    for selector, value in (("serial", issued[0]["serial"]), ("delegation_id", asked["id"]), ("user", "scale-u000003"),
                            ("host", "scale-h00001")):  # fmt: skip
        await at("revoke", "POST", "revocations", json={selector: value, "reason": "x"}, **admin)
    await at("krl", "GET", "krl")
    await at("ready", "GET", "/readyz")
    recorder.step = ""


def plan_of(connection, statement):
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]


def scanned(steps):
    return [step for step in steps if step.startswith("SCAN") and set(re.findall(r"\w+", step)) & GROWING]


@pytest.mark.parametrize("analyzed", [True, False])
async def test_nothing_that_the_service_asks_scans_or_sorts_on_sqlite(
    tmp_path, clock, scale, monkeypatch, sqlite_template, analyzed
):
    """With the statistics of ANALYZE, and without any, as an installation has it that never ran one."""
    import shutil

    recorder = Recorder()
    recorder.patch(monkeypatch)
    shutil.copy(sqlite_template, tmp_path / "tms.db")
    url = f"sqlite:///{tmp_path / 'tms.db'}"
    async with running_world(tmp_path / "data", url, clock) as world:
        await world.furnish()
        await asyncio.to_thread(fill, url, scale=scale, master_key=world.settings.master_key, now=clock.now())
        if not analyzed:
            with sqlite3.connect(tmp_path / "tms.db") as plain:
                plain.execute("DELETE FROM sqlite_stat1")
        await walk(world, recorder)
    with sqlite3.connect(tmp_path / "tms.db") as connection:
        wrong = []
        for step, statements in recorder.asked.items():
            for text in statements.values():
                steps = plan_of(connection, text)
                if not re.fullmatch(NEWEST, text.strip(), re.DOTALL):
                    wrong += [(step, one, text) for one in scanned(steps)]
                if step.startswith("list") and ONE_ACCOUNT not in text:
                    wrong += [(step, one, text) for one in steps if "TEMP B-TREE" in one]
        assert scanned(plan_of(connection, "SELECT * FROM certificates WHERE limited_by = 'x'")), "the check finds none"
    connection.close()
    asked = {step: len(statements) for step, statements in recorder.asked.items()}
    assert {"issue", "login", "session", "krl", "revoke", "list certificates"} <= set(asked), asked
    assert wrong == []


async def test_a_page_far_down_costs_what_the_first_costs(tmp_path, clock, scale, monkeypatch, sqlite_template):
    """Counted in steps of SQLite's machine, for every list, and for filters that hardly anything meets."""
    import shutil

    recorder = Recorder()
    recorder.patch(monkeypatch)
    shutil.copy(sqlite_template, tmp_path / "tms.db")
    url = f"sqlite:///{tmp_path / 'tms.db'}"
    cost = {}
    async with running_world(tmp_path / "data", url, clock) as world:
        await world.furnish()
        await asyncio.to_thread(fill, url, scale=scale, master_key=world.settings.master_key, now=clock.now())

        async def page(name, cursor, limit, step):
            recorder.step = step
            query = f"limit={limit}" + (f"&cursor={cursor}" if cursor else "")
            found = await world.good("GET", f"{name}?{query}", auth=world.operator)
            recorder.step = ""
            return found

        for name in (
            "certificates",
            "users",
            "delegations",
            "account-links",
            "revocations",
            "audit-events",
            "identities",
        ):
            cursors, cursor = [], None
            while len(cursors) < 40:  # 40,000 rows down, or at the end
                cursor = (await page(name, cursor, 1000, ""))["next_cursor"]
                if cursor is None:
                    break
                cursors.append(cursor)
            if not cursors:
                continue  # shorter than a page
            await page(name, None, 20, f"{name} first")
            await page(name, cursors[-1], 20, f"{name} last")
            cost[name] = None
    connection = sqlite3.connect(tmp_path / "tms.db", isolation_level=None)
    for name in cost:
        steps = []
        for where in ("first", "last"):
            counted = 0

            def count():
                nonlocal counted
                counted += 1
                return 0

            connection.set_progress_handler(count, 1)
            for text in recorder.asked[f"{name} {where}"].values():
                if re.search(rf"FROM {name.replace('-', '_')}\b", text):
                    connection.execute(text).fetchall()
            connection.set_progress_handler(None, 1)
            steps.append(counted)
        cost[name] = steps
    connection.close()
    assert {"certificates", "users", "delegations", "audit-events"} <= set(cost)
    for name, (first, last) in cost.items():
        assert 0 < last <= 2 * first + 100, (name, first, last)


async def test_postgresql_reads_no_table_from_end_to_end(tmp_path, clock, scale, request):
    """By its own counts of the walk: of tables with more than a few pages no scan, and few rows read."""
    if request.config.getoption("--db") == "sqlite":
        pytest.skip("PostgreSQL is not wanted")
    url = await request.getfixturevalue("postgres").fresh()
    admin = await asyncpg.connect(url)
    async with running_world(tmp_path / "data", url, clock) as world:
        await world.furnish()
        await asyncio.to_thread(fill, url, scale=scale, master_key=world.settings.master_key, now=clock.now())
        await admin.execute("SELECT pg_stat_reset()")
        await walk(world, Recorder())
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    async with asyncio.timeout(60):
        while await admin.fetchval(others):  # backends report when they end
            await asyncio.sleep(0.05)
    counts = "SELECT relname, seq_scan, seq_tup_read + coalesce(idx_tup_fetch, 0) AS read FROM pg_stat_user_tables"
    found = {row["relname"]: (row["seq_scan"], row["read"]) for row in await admin.fetch(counts)}
    rows = {name: await admin.fetchval(f'SELECT count(*) FROM "{name}"') for name in GROWING}
    await admin.close()
    assert found["certificates"][1] > 0, "nothing was counted"
    # What is smaller than the window of a page may be read whole.
    big = {name for name in GROWING if rows[name] >= 2 * WINDOW}
    assert {"certificates", "audit_events"} <= big
    assert {name: found[name] for name in big if found[name][0]} == {}
    # Pages of 100 and bounded windows; and each process lists what is revoked, once.
    read = {name: found[name] for name in big - {"revoked_certificates"} if found[name][1] > 15 * WINDOW}
    assert read == {}
