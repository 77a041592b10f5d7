"""What is taken back while an import is planned does not come by it."""

import pytest

from tests.import_tms.test_who_is_here import MFA, opens
from tests.overtaking import once_read
from tms_ca.core.errors import Conflict
from tms_ca.store import imports


async def test_a_word_that_is_taken_back_while_an_import_is_planned_stays_taken_back(
    tms, old, bring, old_url, monkeypatch
):
    await tms.world.add_user("alice")
    key = old.everything()
    await tms.good("POST", "usermfa", tms.admin, MFA, 201)

    async def take_back():
        await tms.good("DELETE", "usermfa/del/alice", tms.admin)

    once_read(monkeypatch, imports, "known_digests", take_back)
    with pytest.raises(Conflict, match="repeat the import"):
        await bring(old_url())
    assert "alice" not in str(await tms.good("GET", "delegations/list", tms.admin))
    assert not await opens(tms, key)
