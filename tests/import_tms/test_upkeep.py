"""Upkeep deletes nothing on which a key that came still rests."""

import pytest

from tests.import_tms.conftest import Started, bring_into
from tests.import_tms.old import DAY, Old
from tms_ca.cli.init import local_operator


@pytest.mark.parametrize("with_key", [True, False])
async def test_a_delegation_that_ended_long_ago_stays_while_a_key_rests_on_it(
    with_key: bool, started: Started, old: Old, old_url
):
    old.tenant()
    old.client("gateway")
    old.user()
    old.link()
    old.delegation("gateway", expires_at=old.now - 100 * DAY)
    key = old.key(client_id="gateway") if with_key else "SHA256:" + "B" * 43
    async with started(strict="false") as tms:
        assert (await bring_into(tms, old_url())).whole
        ask = {"user": "alice", "host": "h1", "public_key_fingerprint": key}
        before = (await tms.call("POST", "pubkeys/creds/retrieve", None, ask)).status
        report = await tms.world.context.upkeep.run(local_operator())
        assert (await tms.call("POST", "pubkeys/creds/retrieve", None, ask)).status == before
        assert before == (200 if with_key else 404)
        assert report.deleted["delegations"] == (0 if with_key else 1)
