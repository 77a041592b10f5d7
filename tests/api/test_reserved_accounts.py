"""B-03: accounts of the system are reached only by a link and a delegation that name them."""

import pytest

from tms_ca.core.names import RESERVED_ACCOUNTS


async def _link_root(world, **more):
    body = {"user": "alice", "host": "h1", "account": "root", "expires_at": "2099-01-01T00:00:00Z", **more}
    return await world.call("POST", "account-links", auth=world.operator, json=body)


async def test_B_03_a_link_to_root_must_be_meant(world):
    refused = await _link_root(world)
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert "allow_reserved" in refused.json["fields"]["account"][0]
    assert (await _link_root(world, allow_reserved=True)).status == 201


async def test_B_03_a_pattern_never_reaches_root(world):
    assert (await _link_root(world, allow_reserved=True)).status == 201
    await world.link("alice", "h1", "alice2")
    await world.delegate("alice", "portal", "h1", "*")
    assert (await world.issue(account="alice2")).status == 201
    refused = await world.issue(account="root")
    assert (refused.status, refused.code) == (403, "delegation_other_account")
    await world.delegate("alice", "portal", "h1", "root")
    assert (await world.issue(account="root")).status == 201


@pytest.mark.parametrize("account", ["root", "daemon", "nobody", "sshd", "www-data"])
def test_the_list_has_the_usual_ones(account):
    assert account in RESERVED_ACCOUNTS
