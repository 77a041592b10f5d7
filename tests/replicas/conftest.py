"""Where the time is what a test is about, it is the service's own."""

from collections.abc import Iterator

import pytest

from tests.conftest import OUR_TIMES, PATIENT_TIMES, set_times


@pytest.fixture
def our_times() -> Iterator[None]:
    set_times(OUR_TIMES)
    yield
    set_times(PATIENT_TIMES)
