"""A machine leaves while its own request is at work: nothing of it is left behind."""

import pytest

from tests.api.stores import query
from tests.enrol.machine import host_key, invite, join
from tests.enrol.test_reports import body
from tests.overtaking import Beside, once_read
from tms_ca.services.reports import Reports
from tms_ca.store import cakeys, enrolment, reports


@pytest.fixture
async def machine(world):
    secret, _ = await join(world)

    async def leave():
        await world.good("DELETE", "hosts/h1/nodes/login1", auth=world.operator)

    return secret, leave


async def test_a_machine_that_leaves_meanwhile_gets_no_certificate_that_nobody_ends(world, machine, monkeypatch):
    secret, leave = machine
    once_read(monkeypatch, enrolment, "nodes_of", leave)
    key = host_key(world, "hostkey-login1").public
    refused = await world.call("POST", "hosts/h1/certificates", auth=secret, json={"public_keys": [key]})
    assert (refused.status, refused.code) == (403, "key_not_registered")
    standing = "SELECT serial FROM host_certificates WHERE serial NOT IN (SELECT serial FROM revoked_certificates)"
    assert await query(world, standing) == []


async def test_a_report_of_a_machine_that_leaves_meanwhile_does_not_bring_it_back(world, machine, monkeypatch):
    secret, leave = machine
    said = await body(world)
    once_read(monkeypatch, Reports, "require_node", leave)
    assert (await world.call("POST", "hosts/h1/reports", auth=secret, json=said)).status == 200
    assert (await world.good("GET", "nodes", auth=world.operator))["items"] == []


async def test_a_report_that_is_being_kept_goes_with_its_machine(world, machine, monkeypatch):
    secret, leave = machine
    said = await body(world)
    leaving = Beside(leave)
    once_read(monkeypatch, reports, "_credentials_there", leaving.begin)
    assert (await world.call("POST", "hosts/h1/reports", auth=secret, json=said)).status == 200
    await leaving.done()
    assert (await world.good("GET", "nodes", auth=world.operator))["items"] == []


async def test_of_two_invitations_at_once_one_is_good(world, monkeypatch):
    second = Beside(lambda: invite(world))
    once_read(monkeypatch, enrolment, "put_token", second.begin)
    await invite(world)
    await second.done()
    assert await query(world, "SELECT count(*) FROM join_tokens") == [(1,)]


async def test_a_host_key_that_two_hosts_are_given_at_once_is_barred_for_both(world, monkeypatch):
    await world.add_host("h2")
    given = {"ssh_host_keys": [host_key(world, "given").public]}
    second = Beside(lambda: world.good("PATCH", "hosts/h2", auth=world.operator, json=given))
    once_read(monkeypatch, cakeys, "forbid", second.begin)
    await world.good("PATCH", "hosts/h1", auth=world.operator, json=given)
    await second.done()
    assert await query(world, "SELECT count(*) FROM forbidden_keys WHERE standing = 'host'") == [(1,)]
    barred = await world.issue(public_key=given["ssh_host_keys"][0])
    assert (barred.status, barred.code) == (403, "key_is_host_key")
