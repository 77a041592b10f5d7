"""A-02: another tenant's things look exactly like things that are not there."""

import pytest

from tests.world import basic


@pytest.fixture
async def two(world):
    """Tenant `default` is furnished; `other` has an admin of its own."""
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "other"})
    made = await world.good("POST", "admins", auth=world.operator, json={"admin_id": "eve"}, tenant="other")
    world.eve = basic("eve", made["secret"])
    return world


async def test_A_02_another_tenants_ids_are_as_unknown_as_made_up_ones(two):
    issued = await two.issue()
    link = (await two.good("GET", "account-links", auth=two.operator))["items"][0]["id"]
    wish = {"user": "alice", "host": "h1", "account": "alice", "lifetime_seconds": 60, "purpose": "run"}
    reserved = (await two.good("POST", "reservations", auth=two.clients["portal"], json=wish))["id"]
    pairs = [
        (f"reservations/{reserved}", "reservations/00000000-0000-4000-8000-000000000000"),
        (f"certificates/{issued.json['serial']}", "certificates/12345"),
        (f"delegations/{two.delegation['id']}", "delegations/dlg_aaaaaaaaaaaaaaaaaaaa"),
        (f"account-links/{link}", "account-links/lnk_aaaaaaaaaaaaaaaaaaaa"),
        ("clients/portal", "clients/nobody"),
        ("users/alice", "users/nobody"),
        ("hosts/h1", "hosts/h9"),
    ]
    for real, made_up in pairs:
        mine = await two.call("GET", real, auth=two.operator)
        assert mine.status == 200, real
        theirs = await two.call("GET", real, auth=two.eve, tenant="other")
        nothing = await two.call("GET", made_up, auth=two.eve, tenant="other")
        assert theirs.status == nothing.status == 404
        name, other_name = real.rpartition("/")[2], made_up.rpartition("/")[2]
        assert _without_request(theirs, name) == _without_request(nothing, other_name)
        assert sorted(theirs.headers) == sorted(nothing.headers)


async def test_A_02_a_tenant_that_is_not_there_answers_like_one_that_is_not_yours(two):
    real = await two.call("GET", "clients", auth=two.eve)
    made_up = await two.call("GET", "clients", auth=two.eve, tenant="nowhere")
    assert (real.status, real.code) == (made_up.status, made_up.code) == (403, "tenant_mismatch")


def _without_request(reply, name):
    body = dict(reply.json)
    body.pop("request_id")
    return {key: str(value).replace(name, "NAME") for key, value in body.items()}
