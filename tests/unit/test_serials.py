"""Serials: never twice, never out of range, close to their neighbours, and spread over the shelves of a KRL."""

import secrets
from itertools import islice, pairwise

from tms_ca.services import serials
from tms_ca.services.serials import LEAST_STEP, RUN, draw_serials


def test_a_run_goes_up_by_steps_that_no_bitmap_of_ssh_keygen_spans():
    drawn = list(islice(draw_serials(), RUN))
    steps = [later - former for former, later in pairwise(drawn)]
    assert min(steps) >= LEAST_STEP
    assert max(steps) < LEAST_STEP + 2**23
    assert len(set(steps)) > RUN / 2, "drawn at random"


def test_the_runs_lie_all_over_the_range():
    drawn = list(islice(draw_serials(), 0, 400 * RUN, RUN))
    assert len({serial >> 60 for serial in drawn}) == 8
    assert drawn != sorted(drawn)


def test_two_that_know_nothing_of_each_other_draw_different_serials():
    one, two = (set(islice(draw_serials(), 3 * RUN)) for _ in range(2))
    assert len(one | two) == 6 * RUN


def test_the_lowest_and_the_highest_place_stay_in_range(monkeypatch):
    monkeypatch.setattr(secrets, "token_bytes", lambda count: b"\xff" * count)
    for place in (0, serials._PLACES - 1):
        monkeypatch.setattr(secrets, "randbelow", lambda below, place=place: place if place < below else 1 / 0)
        drawn = list(islice(draw_serials(), RUN))
        assert drawn[0] > 0
        assert drawn[-1] < 2**63
        assert len(set(drawn)) == RUN
