"""Who hears that there is no time while the service ends asks the next process: the connection ends, and says so."""

import pytest

from tests.hot.line import request
from tms_ca.app import CLOSING
from tms_ca.http.dozing import MOST_QUEUED
from tms_ca.http.guard import GUARD


@pytest.mark.parametrize("way", ["unparsed", "parsed"])
async def test_E_07_a_refusal_for_want_of_time_is_the_last_on_its_connection_during_a_stop(doors, way):
    """What comes in two pieces is looked at only once it is parsed."""
    door = doors.long
    admission, asked = door.app[GUARD].admission, doors.good()
    pieces = [asked] if way == "unparsed" else [asked[:40], asked[40:]]
    kept, left = door.line(), door.line()
    for line in (kept, left):
        assert (await line.ask(asked)).status == 200
    admission.came(10_000)
    try:
        said = await kept.ask(*pieces)
        assert (said.status, said.code, said.headers.get("connection")) == (503, "overloaded", None)
        door.app[CLOSING].set()
        await left.send(pieces)
        said = await left.answer()
        assert (said.status, said.code, said.headers.get("connection")) == (503, "overloaded", "close")
        assert said.headers["retry-after"] == "1"
        assert await left.ended(60)
        door.app[CLOSING].clear()
    finally:
        admission.lost(10_000)
    assert (await kept.ask(asked)).status == 200, "a connection that was refused something before goes on"


async def test_H_11_what_is_behind_a_request_that_there_is_no_time_for_goes_with_its_connection(doors):
    admission, asked = doors.long.app[GUARD].admission, doors.good()
    one, many = doors.long.line(), doors.long.line()
    admission.came(10_000)
    try:
        await many.send([asked * 3])
        said = await many.answer()
        assert (said.status, said.code, said.headers.get("connection")) == (503, "overloaded", "close")
        assert await many.ended(60)
        said = await one.ask(asked[:40], asked[40:])
        assert (said.status, said.code, said.headers.get("connection")) == (503, "overloaded", None)  # the twin
    finally:
        admission.lost(10_000)
    assert admission.waiting == 0


async def test_H_11_one_connection_has_few_requests_wait_however_many_it_sends(doors):
    """All that wait are before everybody else; what is not read waits at the client."""
    admission = doors.long.app[GUARD].admission
    waited, came = [], admission.came

    def counted(number: int) -> None:
        came(number)
        waited.append(admission.waiting)

    admission.came = counted
    line, number = doors.long.line(), 10 * MOST_QUEUED
    await line.send([request("/healthz", b"", None, method="GET") * number])
    assert [(await line.answer()).status for _ in range(number)] == [200] * number  # the twin: none is lost
    assert 1 < max(waited) <= MOST_QUEUED + 1  # the one whose turn it is
    assert admission.waiting == 0
