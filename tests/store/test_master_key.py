"""A service with another master key than its database's refuses to start, and writes nothing."""

import pytest

from tests.conftest import running_world
from tms_ca.app import open_context
from tms_ca.core.errors import Unavailable
from tms_ca.vault import create_master_key


async def test_F_01_another_master_key_is_refused_before_anything_is_written(tmp_path, fresh_database, clock):
    data = tmp_path / "data"
    async with running_world(data, fresh_database, clock) as world:
        settings = world.settings
        await world.furnish()
    right = (data / "master.key").read_bytes()
    (data / "master.key").unlink()
    create_master_key(data / "master.key")
    with pytest.raises(Unavailable, match="does not open with this master key"):
        async with open_context(settings, clock):
            pass
    (data / "master.key").write_bytes(right)
    async with open_context(settings, clock) as context:
        assert (await context.auditing.verify()).faults == ()
