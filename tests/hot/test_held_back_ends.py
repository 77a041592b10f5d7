"""What becomes of those who are held back when the service ends, and of those who are refused for long."""

import asyncio

import pytest

from tests.hot.conftest import open_door
from tms_ca.app import CLOSING
from tms_ca.http import admission as admissions
from tms_ca.http import guard as guards
from tms_ca.http.guard import GUARD

MANY = 10_000


@pytest.fixture(autouse=True)
def no_time_to_refuse(monkeypatch):
    monkeypatch.setattr(admissions, "REFUSING_SHARE", 1e-9)


@pytest.mark.parametrize("full", [True, False])
async def test_H_11_what_was_asked_while_held_back_is_answered_when_the_service_ends(doors, monkeypatch, full):
    monkeypatch.setattr(admissions, "RETRY_MOST", 1000)
    door = doors.long
    guard, asked, line = door.app[GUARD], doors.good(), door.line()
    guard.admission.came(MANY)
    try:
        guard.admission.retry_after, guard.admission.hold_back = 1000, lambda _: None
        said = await line.ask(asked)
        assert (said.headers["retry-after"], len(guard.held_back)) == ("1000", 1)
        await line.send([asked])
    finally:
        if not full:
            guard.turned = lambda: None  # there is room by now, and nobody has been told
            guard.admission.lost(MANY)
    door.app[CLOSING].set()
    said = await line.answer()
    if full:
        guard.admission.lost(MANY)
    assert (said.status, said.headers["connection"]) == (503 if full else 200, "close")


@pytest.mark.parametrize("dozes", [True, False])
async def test_H_11_who_is_refused_again_and_again_is_not_idle(lite, doors, monkeypatch, jump, dozes):
    monkeypatch.setattr(admissions, "RETRY_MOST", 1)
    for name in () if dozes else ("DOZE_SECONDS", "DOZE_IN_A_CROWD_SECONDS"):
        monkeypatch.setattr(guards, name, 6000.0)
    async with open_door(lite, short=True) as door:
        guard, asked, line = door.app[GUARD], doors.good(), door.line()
        assert (await line.ask(asked)).status == 200
        while dozes and not guard.dozing:
            await asyncio.sleep(0.05)
        guard.admission.came(MANY)
        try:
            codes = []
            for _ in range(4):
                codes.append((await line.ask(asked)).code)
                await jump(guards.IDLE_SECONDS * 2 / 3)
        finally:
            guard.admission.lost(MANY)
        assert set(codes) == {"overloaded"}
