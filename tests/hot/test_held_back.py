"""Who asks again on a connection that was just refused is refused at once, while refusing leaves time for the rest."""

import pytest

from tms_ca.http import admission as admissions
from tms_ca.http import guard as guards
from tms_ca.http.guard import GUARD


@pytest.mark.parametrize(("share", "held"), [(1e6, 0), (0.0, 1)], ids=["there is time", "there is none"])
async def test_H_11_whoever_is_refused_is_read_again_at_once_only_while_there_is_time_for_refusals(
    doors, monkeypatch, share, held
):
    monkeypatch.setattr(admissions, "REFUSING_SHARE", share)
    monkeypatch.setattr(guards, "MOST_BACK", 0)
    monkeypatch.setattr(guards, "BOXED_SECONDS", 0.5)
    door = doors.long
    guard, asked, line = door.app[GUARD], doors.good(), door.line()
    assert (await line.ask(asked)).status == 200
    guard.admission.came(10_000)
    try:
        for _ in range(3):
            assert (await line.ask(asked)).code == "overloaded", "who was held back is answered, too"
            assert len(guard._boxed) == held
    finally:
        guard.admission.lost(10_000)
    assert (await line.ask(asked)).status == 200
