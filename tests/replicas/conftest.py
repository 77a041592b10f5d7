"""What is here is about time, too: it is the service's own."""

from collections.abc import Iterator

import pytest

from tests.conftest import OUR_TIMES, PATIENT_TIMES, set_times


@pytest.fixture(autouse=True)
def _our_times() -> Iterator[None]:
    set_times(OUR_TIMES)
    yield
    set_times(PATIENT_TIMES)
