"""Who is refused and asks again at once is held back, while refusing leaves no time for the rest, and comes to its turn."""

import asyncio
import ipaddress
import itertools

import pytest

from tests.hot.conftest import open_door
from tms_ca.http import admission as admissions
from tms_ca.http import guard as guards
from tms_ca.http.guard import GUARD
from tms_ca.http.held_back import TICK_SECONDS, HeldBack


class One:
    """Who is held back; counts how often it is read again, and is held back again if it is `stubborn`."""

    def __init__(self, held: HeldBack | None = None) -> None:
        self.read = 0
        self._held = held

    def read_again(self) -> None:
        self.read += 1
        if self._held is not None:
            self._held.add(self, 1.0)


def test_H_11_each_is_read_again_before_its_time_is_over_and_not_all_at_once():
    held, crowd = HeldBack(0.0), [One() for _ in range(1000)]
    for one in crowd:
        held.add(one, 2.0)
    read = []
    for tick in range(1, int(2 / TICK_SECONDS) + 1):
        held.tick((tick + 0.1) * TICK_SECONDS)
        read.append(sum(one.read for one in crowd))
    assert (read[-1], len(held)) == (1000, 0)
    assert read[len(read) // 2] == 0, "who asks again after half of the time is held back still"
    steps = [after - before for before, after in itertools.pairwise(read)]
    assert max(steps) <= 1000 / (len(read) / 4) + 1


def test_H_11_a_loop_that_was_late_makes_nobody_wait_longer():
    held, one = HeldBack(0.0), One()
    held.add(one, 1.0)
    held.tick(5.0)
    assert (one.read, len(held)) == (1, 0)


def test_H_11_so_many_as_there_is_room_for_are_read_before_their_time_the_next_first():
    held, crowd = HeldBack(0.0), [One() for _ in range(20)]
    for one in crowd:
        held.add(one, 0.2)
    late = One()
    held.add(late, 9.0)
    held.early(0)
    assert len(held) == 21
    held.early(15)
    assert (sum(one.read for one in crowd), late.read, len(held)) == (15, 0, 6)
    held.early(100)
    assert (sum(one.read for one in crowd), late.read, len(held)) == (20, 1, 0)


def test_H_11_who_is_refused_again_is_held_back_again_and_read_once():
    held = HeldBack(0.0)
    stubborn = One(held)
    held.add(stubborn, 1.0)
    held.early(100)
    assert (stubborn.read, len(held)) == (1, 1)
    held.tick(1.0)
    assert (stubborn.read, len(held)) == (2, 1)


@pytest.mark.parametrize(("share", "held"), [(1e6, 0), (1e-9, 1)], ids=["there is time", "there is none"])
async def test_H_11_whoever_is_refused_is_read_again_at_once_only_while_there_is_time_for_refusals(
    doors, monkeypatch, share, held
):
    monkeypatch.setattr(admissions, "REFUSING_SHARE", share)
    monkeypatch.setattr(admissions, "RETRY_MOST", 600)
    door = doors.long
    guard, asked, line = door.app[GUARD], doors.good(), door.line()
    assert (await line.ask(asked)).status == 200
    guard.admission.came(10_000)
    try:
        for _ in range(3):
            await line.send([asked])
            while guard.held_back:
                guard.held_back.early(1)  # as when its time has come
            said = await line.answer()
            assert said.code == "overloaded", "who was held back is answered, too"
            assert len(guard.held_back) == held
            assert int(said.headers["retry-after"]) <= 600
    finally:
        guard.admission.lost(10_000)
    assert (await line.ask(asked)).status == 200


@pytest.mark.parametrize(("proxies", "held"), [("127.0.0.0/8", 0), ("192.0.2.0/24", 1)])
async def test_H_11_a_proxys_connection_carries_everybodys_requests_and_is_never_held_back(
    doors, monkeypatch, proxies, held
):
    monkeypatch.setattr(admissions, "REFUSING_SHARE", 1e-9)
    monkeypatch.setattr(admissions, "RETRY_MOST", 600)
    async with open_door(doors.world, short=True, trusted_proxies=(ipaddress.ip_network(proxies),)) as door:
        guard, line = door.runner.guard, door.line()
        assert (await line.ask(doors.good())).status == 200
        guard.admission.came(10_000)
        try:
            assert (await line.ask(doors.good())).code == "overloaded"
            assert len(guard.held_back) == held
        finally:
            guard.admission.lost(10_000)


@pytest.mark.parametrize(("share", "ended"), [(1e6, None), (1e-9, "close")], ids=["there is time", "there is none"])
async def test_H_11_a_refusal_that_had_to_be_parsed_is_the_last_where_there_is_no_time_for_refusals(
    doors, monkeypatch, share, ended
):
    monkeypatch.setattr(admissions, "REFUSING_SHARE", share)
    monkeypatch.setattr(admissions, "RETRY_MOST", 1)
    guard, line, good = doors.short.runner.guard, doors.short.line(), doors.good()
    assert (await line.ask(good)).status == 200
    guard.admission.came(10_000)
    try:
        said = await line.ask(good[:50], good[50:])
    finally:
        guard.admission.lost(10_000)
    assert (said.code, said.headers.get("connection")) == ("overloaded", ended)


@pytest.mark.parametrize("let_in", [True, False])
async def test_H_11_what_was_let_in_at_the_door_is_answered_whatever_has_come_since_and_nothing_after_it(doors, let_in):
    door = doors.short
    guard, line = door.runner.guard, door.line()
    await line.streams()
    while not guard.awake:
        await asyncio.sleep(0.01)
    (connection,) = guard.awake
    connection.let_in = let_in
    guard.admission.came(10_000)
    try:
        first, then = await line.ask(doors.good()), await line.ask(doors.good())
    finally:
        guard.admission.lost(10_000)
    assert (first.status, then.code) == (200 if let_in else 503, "overloaded")


@pytest.mark.parametrize("crowd", [True, False])
async def test_H_11_in_a_crowd_nobody_dozes_soon(doors, crowd, monkeypatch):
    monkeypatch.setattr(guards, "DOZE_IN_A_CROWD_SECONDS", 600.0)
    door = doors.short
    guard, line = door.runner.guard, door.line()
    if crowd:
        guard.held_back.add(One(), 600.0)
        guard.turned = lambda: None
    assert (await line.ask(doors.good())).status == 200
    if crowd:
        await asyncio.sleep(0.7)
    else:
        async with asyncio.timeout(60):
            while not guard.dozing:
                await asyncio.sleep(0.01)
    assert (len(guard.awake), len(guard.dozing)) == ((1, 0) if crowd else (0, 1))
