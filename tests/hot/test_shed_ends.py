"""Who hears that there is no time while the service ends asks the next process: the connection ends, and says so."""

import pytest

from tms_ca.app import CLOSING
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
        assert await left.ended(5)
        door.app[CLOSING].clear()
    finally:
        admission.lost(10_000)
    assert (await kept.ask(asked)).status == 200, "a connection that was refused something before goes on"
