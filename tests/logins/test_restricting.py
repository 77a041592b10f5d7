"""Restrictions through the API: who may set them, and that they count for certificates that were there before."""

import pytest

from tests.logins.telling import certificate_of, lines_of

ALL = {
    "restrict": True,
    "source_address": ["192.0.2.0/24"],
    "force_command": "rsync --server .",
    "permit_open": ["db:5432"],
    "expiry": True,
}


def path(world) -> str:
    return f"delegations/{world.delegation['id']}/restrictions"


async def restrict(world, auth, **body):
    return await world.call("PATCH", path(world), auth=auth, json=body)


async def test_a_certificate_that_was_there_before_is_restricted(world):
    certificate = await certificate_of(world)
    assert (await lines_of(world, certificate)).body == b"alice@h1\n"
    reply = await restrict(world, world.sessions["alice"], **ALL)
    assert reply.status == 200
    assert reply.json["restrictions"] == {**ALL, "by_admin": False}
    answer = await lines_of(world, certificate)
    ends = (await world.check(certificate)).json["options"].rpartition("=")[2].strip('"')
    assert answer.body.decode() == (
        f'restrict,from="192.0.2.0/24",command="rsync --server .",permitopen="db:5432",expiry-time="{ends}" alice@h1\n'
    )
    assert (await lines_of(world, certificate)).body == answer.body  # the short way says the same
    assert (await restrict(world, world.sessions["alice"], restrict=False, source_address=[], force_command=None,
                           permit_open=[], expiry=False)).json["restrictions"] is None  # fmt: skip
    assert (await lines_of(world, certificate)).body == b"alice@h1\n"


async def test_what_is_left_out_stays(world):
    await restrict(world, world.sessions["alice"], restrict=True)
    reply = await restrict(world, world.sessions["alice"], force_command="true")
    assert (reply.json["restrictions"]["restrict"], reply.json["restrictions"]["force_command"]) == (True, "true")


async def test_a_hosts_restrictions_and_a_delegations_are_one(world):
    certificate = await certificate_of(world)
    host = {"restrictions": {"source_address": ["10.0.0.0/8"], "restrict": True}}
    assert (await world.good("PATCH", "hosts/h1", auth=world.operator, json=host))["restrictions"]["by_admin"] is True
    assert (await lines_of(world, certificate)).body == b'restrict,from="10.0.0.0/8" alice@h1\n'
    await restrict(world, world.sessions["alice"], source_address=["10.1.0.0/16"])
    assert (await lines_of(world, certificate)).body == b'restrict,from="10.1.0.0/16" alice@h1\n'
    await restrict(world, world.sessions["alice"], source_address=["192.0.2.0/24"])
    assert (await lines_of(world, certificate)).code == "sources_disjoint"
    await world.good("PATCH", "hosts/h1", auth=world.operator, json={"restrictions": None})
    assert (await lines_of(world, certificate)).body == b'from="192.0.2.0/24" alice@h1\n'


async def test_another_command_than_the_certificates_own_is_refused_by_name(world):
    await world.good("POST", f"delegations/{world.delegation['id']}/revoke", auth=world.sessions["alice"])
    world.delegation = await world.delegate("alice", "portal", "h1", "alice", constraints={"force_command": "true"})
    certificate = await certificate_of(world)
    await restrict(world, world.operator, force_command="false")
    assert (await world.check(certificate)).code == "commands_differ"
    await restrict(world, world.operator, force_command="true")
    assert (await lines_of(world, certificate)).body == b'command="true" alice@h1\n'


async def test_what_an_admin_set_its_user_cannot_take_back(world):
    await restrict(world, world.operator, restrict=True)
    reply = await restrict(world, world.sessions["alice"], restrict=False)
    assert (reply.status, reply.code) == (409, "restrictions_by_admin")
    assert (await restrict(world, world.operator, restrict=False)).json["restrictions"] is None
    assert (await restrict(world, world.sessions["alice"], restrict=True)).status == 200


async def test_only_its_user_with_mfa_and_admins_may(world):
    await world.add_user("bob")
    assert (await restrict(world, world.sessions["bob"], restrict=True)).code == "delegation_unknown"
    assert (await restrict(world, world.clients["portal"], restrict=True)).code == "role_not_allowed"
    assert (await restrict(world, world.hosts["h1"], restrict=True)).code == "role_not_allowed"
    fresh = await world.log_in("alice")
    assert (await restrict(world, fresh, restrict=True)).code == "mfa_required"
    assert (await restrict(world, world.operator, restrict=True)).status == 200


async def test_only_an_approved_delegation_can_be_restricted(world):
    made = await world.delegate("alice", "portal", "h1", "alice", approve=False)
    for auth in (world.operator, world.sessions["alice"]):
        reply = await world.call("PATCH", f"delegations/{made['id']}/restrictions", auth=auth, json={"restrict": True})
        assert (reply.status, reply.code) == (409, "delegation_not_approved")


@pytest.mark.parametrize("body", [
    {"force_command": 'a" restrict'}, {"force_command": "a#b"}, {"force_command": ""}, {"permit_open": ["*:1"]},
    {"permit_open": [f"db:{n}" for n in range(1, 18)]}, {"source_address": ["10.0.0.1/8"]}, {"restrict": 1}, {"by_admin": False},
    {"uses_left": 5}, {"expiry": "yes"},
])  # fmt: skip
async def test_what_sshd_could_misread_is_refused(world, body):
    for auth, where, wrapped in (
        (world.operator, path(world), body),
        (world.operator, "hosts/h1", {"restrictions": body}),
    ):
        reply = await world.call("PATCH", where, auth=auth, json=wrapped)
        assert (reply.status, reply.code) == (400, "invalid_request")


async def test_a_change_of_restrictions_is_on_record(world):
    await restrict(world, world.sessions["alice"], restrict=True)
    (event,) = (await world.good("GET", "audit-events?action=delegations.restrict", auth=world.operator))["items"]
    assert event["actor"] == "user:alice"
    assert '"restrict":true' in event["detail"]
