"""Where the time is what a test is about, it is the service's own."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.conftest import OUR_TIMES, PATIENT_TIMES, furnish_at_rest, running_world, set_times


@pytest.fixture
def our_times() -> Iterator[None]:
    set_times(OUR_TIMES)
    yield
    set_times(PATIENT_TIMES)


@contextlib.asynccontextmanager
async def in_our_times(data, url, clock):
    """Run a service with the times that it has, on what was furnished with more patience."""
    clock.ms, known = await furnish_at_rest(data, url, wholly=True)
    set_times(OUR_TIMES)
    try:
        async with running_world(data, url, clock, operator=known["operator"]) as world:
            for name, value in known.items():
                setattr(world, name, value)
            yield world
    finally:
        set_times(PATIENT_TIMES)
