"""The short way ends where it must: at every change, at the time of an idle connection, at a stop, at a full buffer."""

import asyncio
import socket

import pytest

from tests.hot.conftest import Doors, open_door
from tests.hot.test_dozing import asleep
from tms_ca.app import CLOSING
from tms_ca.http import guard as guards
from tms_ca.http.guard import GUARD

DAY = 86400


async def revoke(doors: Doors, **what: str) -> str:
    made = await doors.world.good(
        "POST", "revocations", auth=doors.world.operator, json={**what, "reason": "test"}
    )  # fmt: skip
    return made["id"]


def patch(path: str, bad: dict, good: dict):
    """A change that a PATCH makes, and takes back."""

    async def on(doors):
        await doors.world.good("PATCH", path, auth=doors.world.operator, json=bad)

    async def off(doors):
        await doors.world.good("PATCH", path, auth=doors.world.operator, json=good)

    return on, off


def revoked(selector: str, value: str):
    """A revocation that an admin can lift; the certificates stay revoked."""
    made = {}

    async def on(doors):
        made["id"] = await revoke(doors, **{selector: value})

    async def off(doors):
        await doors.world.good("POST", f"revocations/{made['id']}/lift", auth=doors.world.operator)
        await doors.certify()

    return on, off


async def fresh_certificate(doors):
    await doors.certify()


async def the_serial(doors):
    await revoke(doors, serial=doors.serial)


async def the_key(doors):
    from tms_ca.core.publickey import parse_public_key

    fingerprint = parse_public_key(doors.world.issue_body()["public_key"]).fingerprint
    await revoke(doors, public_key_fingerprint=fingerprint)
    for name in ("id", "id.pub"):
        (doors.world.keys / name).unlink()


async def the_delegation(doors):
    await revoke(doors, delegation_id=doors.world.delegation["id"])


async def another_delegation(doors):
    doors.world.delegation = await doors.world.delegate("alice", "portal", "h1", "alice")
    await doors.certify()


async def the_users_own_no(doors):
    path = f"delegations/{doors.world.delegation['id']}/revoke"
    await doors.world.good("POST", path, auth=doors.world.sessions["alice"])


async def no_link(doors):
    world = doors.world
    (link,) = (await world.good("GET", "account-links", auth=world.operator))["items"]
    await world.good("DELETE", f"account-links/{link['id']}", auth=world.operator)


async def link_again(doors):
    await doors.world.link("alice", "h1", "alice")
    await doors.certify()


async def link_ended(doors):
    world = doors.world
    (link,) = (await world.good("GET", "account-links", auth=world.operator))["items"]
    body = {"expires_at": "2026-05-28T00:00:00Z", "starts_at": "2026-01-01T00:00:00Z"}
    await world.good("PATCH", f"account-links/{link['id']}", auth=world.operator, json=body)


async def link_lasts(doors):
    world = doors.world
    (link,) = (await world.good("GET", "account-links", auth=world.operator))["items"]
    body = {"expires_at": "2099-01-15T00:00:00Z"}
    await world.good("PATCH", f"account-links/{link['id']}", auth=world.operator, json=body)


async def no_mfa(doors):
    await doors.world.good("DELETE", "users/alice/mfa", auth=doors.world.operator)


async def mfa_again(doors):
    world = doors.world
    token = await world.log_in("alice")
    world.seeds["alice"] = (await world.good("POST", "mfa/totp", auth=token))["seed"]
    await world.verify("alice")


async def the_time_of_the_certificate(doors):
    doors.world.clock.move(3601)


async def the_time_of_mfa(doors):
    doors.world.clock.move(2 * DAY)


async def mfa_verified(doors):
    world = doors.world
    await world.log_in("alice")
    await world.verify("alice")
    await doors.certify()


async def ca_key_retired(doors):
    world = doors.world
    made = await world.good("POST", "ca-keys", auth=world.operator, json={"purpose": "user", "algorithm": "ed25519"})
    new = made["fingerprint"].replace("/", "%2F")
    old = next(
        one["fingerprint"]
        for one in (await world.good("GET", "ca-keys", auth=world.operator))["items"]
        if one["purpose"] == "user" and one["state"] == "active"
    ).replace("/", "%2F")
    await world.good("POST", f"ca-keys/{new}/activate", auth=world.operator)
    await world.good("POST", f"ca-keys/{old}/retire", auth=world.operator, json={"force": True})


async def ca_key_revoked(doors):
    world = doors.world
    old = next(
        one["fingerprint"]
        for one in (await world.good("GET", "ca-keys", auth=world.operator))["items"]
        if one["purpose"] == "user" and one["state"] == "active"
    )
    await ca_key_retired(doors)
    await revoke(doors, ca_fingerprint=old)


async def no_secret(doors):
    world = doors.world
    for one in (await world.good("GET", "hosts/h1/secrets", auth=world.operator))["items"]:
        await world.good("DELETE", f"hosts/h1/secrets/{one['credential_id']}", auth=world.operator)


async def another_secret(doors):
    made = await doors.world.good("POST", "hosts/h1/secrets", auth=doors.world.operator)
    doors.world.hosts["h1"] = made["secret"]


OFF, ON = {"enabled": False}, {"enabled": True}
ENDS = {
    "tenant disabled": (*patch("/api/v1/tenants/default", OFF, ON), 403),
    "client disabled": (*patch("clients/portal", OFF, ON), 403),
    "client ended": (*patch("clients/portal", {"expires_at": "2026-05-28T20:26:40Z"}, {"expires_at": None}), 403),
    "user disabled": (*patch("users/alice", OFF, ON), 403),
    "host disabled": (*patch("hosts/h1", OFF, ON), 403),
    "host names otherwise": (
        *patch("hosts/h1", {"principal_format": "account"}, {"principal_format": "account@host"}), 403
    ),
    "client revoked": (*revoked("client_id", "portal"), 403),
    "user revoked": (*revoked("user", "alice"), 403),
    "host revoked": (*revoked("host", "h1"), 403),
    "certificate revoked": (the_serial, fresh_certificate, 403),
    "key revoked": (the_key, fresh_certificate, 403),
    "delegation revoked": (the_delegation, another_delegation, 403),
    "delegation revoked by its user": (the_users_own_no, another_delegation, 403),
    "link deleted": (no_link, link_again, 403),
    "link ended": (link_ended, link_lasts, 403),
    "MFA reset": (no_mfa, mfa_again, 403),
    "certificate ended": (the_time_of_the_certificate, fresh_certificate, 403),
    "MFA ended": (the_time_of_mfa, mfa_verified, 403),
    "CA key retired": (ca_key_retired, fresh_certificate, 403),
    "CA key revoked": (ca_key_revoked, fresh_certificate, 403),
    "secret taken back": (no_secret, another_secret, 401),
}  # fmt: skip


async def test_A_05_A_06_the_next_check_after_a_change_says_no_and_after_it_is_lifted_yes(doors):
    line = doors.short.line()
    for what, (spoil, mend, status) in ENDS.items():
        await doors.warm(line)
        before = doors.short.short
        assert (await line.ask(doors.good())).status == 200
        assert doors.short.short == before + 1, what
        await spoil(doors)
        for _ in range(3):
            assert (await line.ask(doors.good())).status == status, what
        assert doors.short.short == before + 1, what
        await mend(doors)
        said = await line.ask(doors.good())
        assert said.status == 200, (what, said.body)


async def test_H_03_an_idle_connection_ends_although_its_task_never_saw_a_request_again(lite, doors, monkeypatch, jump):
    monkeypatch.setattr(guards, "DOZE_SECONDS", 6000.0)  # who dozes is given the guard's time, not the connection's own
    async with open_door(lite, short=True) as door:
        assert (await door.line().ask(doors.good())).status == 200  # from here on the path is known
        line = door.line()
        for number in range(4):
            await jump(50)  # two of them are more than what an idle one has
            assert (await line.ask(doors.good())).status == 200
            assert door.short == number  # all but the first of a connection
        await jump(80)
        assert await line.ended(60)


async def test_H_03_an_idle_connection_that_was_let_go_of_is_served_again(lite, doors):
    """After a moment nothing waits for the next request but the bytes themselves."""
    line = doors.short.line()
    for _ in range(2):
        await doors.warm(line)
        await asleep(doors)
    assert (await line.ask(doors.good())).status == 200


async def test_E_08_once_the_service_closes_each_answer_is_the_last(doors):
    line = doors.short.line()
    await doors.warm(line)
    before = doors.short.short
    doors.short.app[CLOSING].set()
    said = await line.ask(doors.good())
    assert (said.status, said.headers["connection"]) == (200, "close")
    assert doors.short.short == before


async def taken(sock: socket.socket, data: bytes) -> bool:
    """Send all of it; False where nothing more is taken, however often the service has had its turn."""
    refused = 0
    while data and refused < 100:
        try:
            data, refused = data[sock.send(data) :], 0
        except BlockingIOError:
            refused += 1
            await asyncio.sleep(0.005)
    return not data


@pytest.mark.parametrize("turns", [0, 30])
async def test_H_03_who_does_not_read_does_not_fill_the_memory(doors, turns):
    """It sends requests for as long as they are taken and reads no answer: that must end soon."""
    one = doors.good()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else it waits for acknowledgements that come late
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", doors.short.port))
    await doors.warm(doors.short.line())
    await asyncio.sleep(0.05)
    before = doors.short.short
    sent, most = 0, 40_000
    while sent < most and await taken(sock, one):
        sent += 1
        short = doors.short.short
        for _ in range(turns):  # each is answered before the next is sent
            if doors.short.short == short:
                await asyncio.sleep(0)
    unread = max(one.transport.get_write_buffer_size() for one in doors.short.app[GUARD]._connections)
    sock.close()
    assert sent < most, "the service goes on reading"
    assert unread < 512 * 1024
    assert turns == 0 or doors.short.short > before + 1000
    assert (await doors.short.line().ask(one)).status == 200
