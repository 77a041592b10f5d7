"""A client or a user with many certificates revokes a key of its own: they are searched a window at a time."""

import asyncio

import pytest
from sqlalchemy import event

from tests.scale.fill import load
from tests.scale.people import Crowd, certificates
from tests.world import ssh_keygen
from tms_ca.store import revocations, tables

WINDOW, MANY = 500, 2750
CROWD = Crowd("default", "SHA256:" + "C" * 43, 0, MANY / 1_000_000, 0)


class Windows:
    """The statements that look for a key, with their values, and how many rows of certificates each has read."""

    def __init__(self, engine):
        self.asked = []
        event.listen(engine, "before_cursor_execute", self._note)

    def _note(self, _connection, _cursor, statement, parameters, _context, _many):
        if "count(*) FILTER" in statement:
            self.asked.append((statement, parameters))


@pytest.fixture
async def many(world):
    """Certificates of the client portal for alice; the oldest and the newest are for keys that are here."""
    rows = [{**row, "client_id": "portal", "user": "alice"} for row in certificates(CROWD)]
    world.old = (await world.issue(public_key=ssh_keygen(world.keys, "old").public)).json
    await asyncio.to_thread(load, world.settings.database_url, tables.certificates, rows)
    world.new = (await world.issue(public_key=ssh_keygen(world.keys, "new").public)).json
    return world


@pytest.mark.parametrize("who", ["client", "user"])
async def test_a_key_of_one_s_own_is_found_among_many_and_another_s_is_not(many, who, monkeypatch):
    world = many
    await world.add_client("batch")
    await world.add_user("bob")
    await world.link("bob", "h1", "bob")
    await world.delegate("bob", "batch", "h1", "bob")
    theirs = ssh_keygen(world.keys, "theirs").public
    other = (await world.issue(client_id="batch", user="bob", account="bob", public_key=theirs)).json
    monkeypatch.setattr(revocations, "_WINDOW", WINDOW)
    windows = Windows(world.context.revocations._database.engine.sync_engine)
    auth = world.clients["portal"] if who == "client" else world.sessions["alice"]
    whole = -(-(MANY + 2) // WINDOW)
    for one, status, searched in ((world.new, 201, 1), (world.old, 201, whole), (other, 404, whole)):
        windows.asked.clear()
        body = {"public_key_fingerprint": one["public_key_fingerprint"], "reason": "x"}
        said = await world.call("POST", "revocations", auth=auth, json=body)
        assert said.status == status, said.body
        assert len(windows.asked) == searched
        assert (said.code == "revocation_target_unknown") == (status == 404)
    check = {"host": "h1"}
    assert (await world.check(world.old["certificate"], **check)).code == "certificate_revoked"
    assert (await world.check(world.new["certificate"], **check)).code == "certificate_revoked"
    assert (await world.check(other["certificate"], account="bob", **check)).status == 200
    engine = world.context.revocations._database.engine
    statement, values = windows.asked[-1]
    explain = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
    async with engine.connect() as connection:
        plan = str((await connection.exec_driver_sql(explain + statement, values)).all())
    assert "SCAN certificates" not in plan
    assert "Seq Scan" not in plan
    column = "client_id" if who == "client" else "user"
    assert f"ix_certificates_tenant_{column}_id" in plan, plan
