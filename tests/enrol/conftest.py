"""The clock of this machine, where real programs judge what the service made."""

import time

import pytest

from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(int(time.time()) - 600)  # a world moves it on for each second factor
