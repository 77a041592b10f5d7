"""The writer process and those who hand groups to it: what is merged, what is refused, what nobody may take for a yes."""

import asyncio
import dataclasses
import shutil
import socket
import sqlite3
import threading
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import running_world
from tests.store.test_commits import counts
from tms_ca.core.errors import Unavailable
from tms_ca.core.model import CertificateRecord, Event
from tms_ca.store import hot_writer, turns
from tms_ca.store.engine import database_url
from tms_ca.store.handover import FAILED, SPOILED, Unpacker, pack, reachable
from tms_ca.store.hot import Entry, SpoiledGroup
from tms_ca.store.hot_writer import ChainElsewhere, WriterDriver
from tms_ca.store.sqlite import open_sqlite
from tms_ca.store.tables import forbidden_keys
from tms_ca.store.writer import GroupWriter, WriterServer

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


class Word(StrEnum):
    NO = "no"


@given(st.lists(PLAIN, max_size=5), st.integers(1, 40))
def test_messages_arrive_whole_however_the_stream_is_cut(messages, size):
    stream, unpacker, found = b"".join(map(pack, messages)), Unpacker(), []
    for at in range(0, len(stream), size):
        found += unpacker.feed(stream[at : at + size])
    assert found == messages


def test_what_a_record_may_hold_arrives_as_plain_values():
    (found,) = Unpacker().feed(pack({"outcome": Word.NO, "list": (Word.NO, 1, True)}))
    assert found == {"outcome": "no", "list": ["no", 1, True]}
    assert type(found["outcome"]) is str
    with pytest.raises(TypeError, match="object cannot be handed over"):
        pack([object()])


def test_a_socket_is_reached_however_deep_it_lies(tmp_path):
    deep = tmp_path / ("d" * 100) / "writer"
    deep.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(reachable(deep))
        listener.listen()
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(reachable(deep))


def record(serial: int, **changed) -> CertificateRecord:
    made = CertificateRecord(
        serial=serial, tenant="default", key_id="k", user="alice", client_id="portal", host="h1", account="alice",
        delegation_id="d", public_key_fingerprint="SHA256:x", ca_fingerprint="SHA256:y", principals=("alice@h1",),
        critical_options=(), extensions=(), valid_after=1, valid_before=2, limited_by="mfa", issued_at=1,
        sha256=b"x" * 32, request_id="r",
    )  # fmt: skip
    return dataclasses.replace(made, **changed)


def entry(serial: int, epoch: int) -> Entry:
    event = Event(1, "default", "client:portal", "certificates.issue", "ok", f"serial:{serial}", {"user": "alice"})
    return Entry(event, record(serial), epoch)


@pytest.fixture
async def world(sqlite_template, tmp_path, clock):
    """One on SQLite: PostgreSQL has no writer."""
    shutil.copy(sqlite_template, tmp_path / "tms.db")
    async with running_world(tmp_path / "data", f"sqlite:///{tmp_path / 'tms.db'}", clock) as one:
        await one.furnish()
        yield one


@pytest.fixture
async def written(world):
    """A world, its tenant's epoch, a writer on its database, and what hands groups to it."""
    url = database_url(world.settings.database_url)
    with open_sqlite(url) as connection:
        (epoch,) = connection.execute("SELECT epoch FROM tenants WHERE tenant = 'default'").fetchone()
    connection.close()
    failures: list[Exception] = []
    writer = GroupWriter(url, world.context.vault.audit_key, 1, failures.append)
    driver = WriterDriver(world.context.commits._database, world.settings.data / "writer")
    yield world, epoch, writer, driver, failures
    await driver.close()
    writer.close()


def rows(driver: WriterDriver, *entries: Entry) -> list:
    return [driver._row(each) for each in entries]


async def test_groups_of_several_workers_share_a_commit_and_one_chain(written):
    world, epoch, writer, driver, _ = written
    before = await counts(world)
    denied = Entry(Event(1, "default", "client:portal", "certificates.issue", Word.NO, "x"))
    groups = [rows(driver, entry(1, epoch), denied), rows(driver, entry(2, epoch)), rows(driver, entry(3, epoch - 1))]
    (handed,) = Unpacker().feed(pack(groups))
    assert writer.write(handed) == [[True, True], [True], [False]]
    assert writer._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: it is on the disk by now
    after = await counts(world)
    assert (after[0] - before[0], after[1] - before[1]) == (2, 3)
    verified = await world.context.auditing.verify()
    assert verified.faults == ()


async def test_A_05_a_key_that_is_forbidden_now_voids_its_entry_alone(written):
    world, epoch, writer, driver, _ = written
    group = [entry(serial, epoch) for serial in range(1, 21)]
    bad = dataclasses.replace(group[18], certificate=record(19, public_key_fingerprint="SHA256:forbidden"))
    assert writer.write([rows(driver, bad)]) == [[True]]
    async with world.context.directory._database.transaction() as transaction:
        row = {"fingerprint": "SHA256:forbidden", "standing": "revoked", "tenant": "default"}
        await transaction.connection.execute(forbidden_keys.insert().values(row))
    group[18] = dataclasses.replace(bad, certificate=dataclasses.replace(bad.certificate, serial=99))
    group[5] = dataclasses.replace(group[5], certificate=None)
    assert writer.write([rows(driver, *group[:10]), rows(driver, *group[10:])]) == [
        [True] * 10,
        [True] * 8 + [False, True],
    ]
    assert (await world.context.auditing.verify()).faults == ()


async def test_a_spoiled_group_spoils_no_other(written):
    world, epoch, writer, driver, _ = written
    assert writer.write([rows(driver, entry(1, epoch))]) == [[True]]
    answers = writer.write([rows(driver, entry(2, epoch)), rows(driver, entry(3, epoch), entry(1, epoch))])
    assert answers == [[True], SPOILED]
    assert (await counts(world))[0] == 2
    assert writer.write([rows(driver, entry(4, epoch))]) == [[True]]
    assert (await world.context.auditing.verify()).faults == ()


async def test_what_the_database_refuses_is_no_yes_and_the_chain_goes_on(written, monkeypatch):
    world, epoch, writer, driver, failures = written
    assert writer.write([rows(driver, entry(1, epoch))]) == [[True]]
    other = sqlite3.connect(database_url(world.settings.database_url).database)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(turns, "BUSY_SECONDS", 0.05)
    assert writer.write([rows(driver, entry(2, epoch)), rows(driver, entry(3, epoch))]) == [FAILED, FAILED]
    assert "locked" in str(failures[0])
    other.close()
    monkeypatch.undo()
    assert writer.write([rows(driver, entry(4, epoch))]) == [[True]]
    assert (await counts(world))[0] == 2
    assert (await world.context.auditing.verify()).faults == ()


class Serving:
    """A WriterServer in a thread, on the socket where the driver looks for it."""

    def __init__(self, world, epoch_writer: GroupWriter) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(world.settings.data / "writer"))
        self.listener.listen()
        self.control, theirs = socket.socketpair()
        self.thread = threading.Thread(target=WriterServer(self.listener, theirs, epoch_writer).run, daemon=True)
        self._theirs = theirs

    async def __aenter__(self):
        self.thread.start()
        return self

    async def __aexit__(self, *_):
        self.control.close()
        await asyncio.to_thread(self.thread.join, 60)  # it ends when the loop has hung up
        assert not self.thread.is_alive()
        for each in (self.listener, self._theirs):
            each.close()


async def test_a_group_goes_to_the_writer_and_comes_back(written, tmp_path):
    world, epoch, writer, driver, _ = written
    chain = ChainElsewhere(world.context.vault.audit_key, 1)
    async with Serving(world, writer):
        assert await driver.commit([entry(1, epoch), entry(2, epoch - 1)], chain) == [True, False]
        with pytest.raises(SpoiledGroup):
            await driver.commit([entry(1, epoch)], chain)
        assert await driver.commit([entry(5, epoch)], chain) == [True]
        await driver.close()
    assert (await counts(world))[0] == 2


async def test_an_answer_that_does_not_come_is_no_yes_and_is_never_taken_for_another(written, monkeypatch):
    world, epoch, _, driver, _ = written
    chain = ChainElsewhere(world.context.vault.audit_key, 1)
    answers = [asyncio.Event(), None]  # the first is answered too late, then comes one that is answered at once

    async def serve(reader, writer):
        late = answers.pop(0)
        if late is not None:
            await late.wait()
        else:
            await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
        writer.write(pack([True] if late is not None else [False]))
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, world.settings.data / "writer")
    late = answers[0]
    with monkeypatch.context() as patch:
        patch.setattr(hot_writer, "ANSWER_SECONDS", 0.2)
        with pytest.raises(Unavailable):
            await driver.commit([entry(1, epoch)], chain)
    late.set()
    assert await driver.commit([entry(2, epoch)], chain) == [False]
    server.close()
    await server.wait_closed()
    with pytest.raises(Unavailable):
        await driver.commit([entry(3, epoch)], chain)
