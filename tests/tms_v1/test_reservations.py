"""Reservations on the wire: made, extended, read and taken back; what they carry and what they do not."""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.tms_v1.keymode import KeyMode
from tests.tms_v1.wire import Headers, Tms
from tms_ca.http.tms_v1.answers import date

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
NOBODY = "00000000-0000-4000-8000-000000000000"
DEPENDENCY = "Missing or expired dependency: "
HOUR = 60  # minutes


@dataclass
class Reserving:
    """ada, whose MFA record ends in an hour, and her key of the client portal for ada on h1."""

    mode: KeyMode
    key: dict[str, Any] = field(default_factory=dict)

    @property
    def tms(self) -> Tms:
        return self.mode.tms

    async def furnish(self) -> None:
        await self.mode.mfa("ada", HOUR)
        await self.mode.link("ada", "ada")
        await self.mode.delegate("portal", "ada")
        self.key = await self.mode.make()

    def body(self, **more: Any) -> dict[str, Any]:
        fingerprint = self.key["public_key_fingerprint"]
        body = {"client_user_id": "ada", "host": "h1", "public_key_fingerprint": fingerprint, "ttl_minutes": 600}
        return {**body, **more}

    async def make(self, **more: Any) -> dict[str, Any]:
        return await self.tms.good("POST", "reservations", self.tms.client, self.body(**more), 201)

    async def extend(self, parent: str, **more: Any) -> dict[str, Any]:
        body = self.body(parent_resid=parent, **more)
        return await self.tms.good("POST", "reservations/extend", self.tms.client, body, 201)

    async def no(self, status: int, path: str = "reservations", headers: Headers | None = None, **more: Any) -> str:
        return await self.tms.no("POST", path, headers or self.tms.client, self.body(**more), status)

    async def remove(self, resid: str, *, related: bool = False, client: str = "portal") -> dict[str, Any]:
        path = f"reservations/del/{'related/' * related}{client}/{resid}"
        return await self.tms.good("DELETE", path, self.tms.client)

    async def opens(self, key: dict[str, Any] | None = None) -> bool:
        """Tell whether sshd would be given the key."""
        question = {
            "user": "ada", "host": "h1", "public_key_fingerprint": (key or self.key)["public_key_fingerprint"],
        }  # fmt: skip
        reply = await self.tms.call("POST", "pubkeys/creds/retrieve", None, question)
        assert reply.status in {200, 404}
        return reply.status == 200


@pytest.fixture
async def ada(tms) -> Reserving:
    made = Reserving(KeyMode(tms))
    await made.furnish()
    return made


async def test_one_is_made_read_and_taken_back(ada):
    now = ada.tms.clock.now()
    made = await ada.make(ttl_minutes=90)
    assert made == {
        "result_code": "0", "result_msg": "success", "resid": made["resid"], "parent_resid": made["resid"],
        "expires_at": date(now + 90 * 60),
    }  # fmt: skip
    assert UUID4.fullmatch(made["resid"])
    for headers in (ada.tms.client, ada.tms.admin):
        said = await ada.tms.good("GET", f"reservations/portal/{made['resid']}", headers)
        assert type(said["id"]) is int
        assert said == {
            **made, "id": said["id"], "tenant": "default", "client_id": "portal", "client_user_id": "ada",
            "host": "h1", "public_key_fingerprint": ada.key["public_key_fingerprint"], "created": date(now),
            "updated": date(now),
        }  # fmt: skip
    for minutes, seconds in ((-1, 172800), (2881, 172800), (2**31 - 1, 172800), (0, 0), (5, 300)):
        other = await ada.make(ttl_minutes=minutes)
        assert other["expires_at"] == date(now + seconds)
        assert other["resid"] != made["resid"]
    said = await ada.remove(made["resid"])
    assert (said["num_deleted"], said["result_msg"]) == (1, f"Reservation {made['resid']} deleted")
    none = f"Reservation {made['resid']} for portal@default NOT FOUND - Nothing deleted"
    for related in (False, True):
        said = await ada.remove(made["resid"], related=related)
        assert (said["num_deleted"], said["result_msg"]) == (0, none)
    path = f"reservations/portal/{made['resid']}"
    assert await ada.tms.no("GET", path, ada.tms.client, None, 404) == "NOT_FOUND"
    path = f"reservations/portal/{other['resid']}"
    assert (await ada.tms.good("GET", path, ada.tms.client))["resid"] == other["resid"]


async def test_the_order_of_its_refusals(ada):
    client, admin = ada.tms.client, ada.tms.admin
    for path in ("reservations", "reservations/extend"):
        more = {"parent_resid": NOBODY}
        without = {name: value for name, value in client.items() if name != "X-TMS-CLIENT-ID"}
        said = await ada.no(400, path, without, **more)
        assert said == "Required 'X-TMS-CLIENT-ID' HTTP header not found"
        assert await ada.no(400, path, admin, **more) == said  # an administrator makes none
        said = await ada.no(400, path, {**client, "X-TMS-TENANT": "nowhere"}, **more)
        assert said == "Tenant not enabled."
        said = await ada.no(401, path, {**client, "X-TMS-CLIENT-SECRET": "0" * 48}, **more)
        assert said == "ERROR: NOT AUTHORIZED Credential mismatch for client portal in tenant default."
        reply = await ada.tms.call("POST", path, None, ada.body(host=None, **more))
        assert reply.body.startswith(b"parse request payload error: host: ")
    for method, path, verb in (
        ("GET", "reservations", "view"), ("DELETE", "reservations/del", "delete"),
        ("DELETE", "reservations/del/related", "delete"),
    ):  # fmt: skip
        wrong = {**client, "X-TMS-CLIENT-SECRET": "0" * 48}
        said = await ada.tms.no(method, f"{path}/portal/{NOBODY}", wrong, None, 401)
        assert said == f"ERROR: NOT AUTHORIZED to {verb} reservation {NOBODY} in tenant default."
        said = await ada.tms.no(method, f"{path}/another/{NOBODY}", client, None, 403)
        assert said == (
            "ERROR: FORBIDDEN - Path client_id parameter (another) differs from the client_id in the request header."
        )


async def test_without_such_a_key_there_is_none(ada):
    words = "NOT FOUND: No pubkey for client portal@default on host {} with fingerprint {}."
    mine = ada.key["public_key_fingerprint"]
    unknown = "SHA256:" + "A" * 43
    assert await ada.no(404, host="h2") == words.format("h2", mine)
    assert await ada.no(404, public_key_fingerprint=unknown) == words.format("h1", unknown)
    stranger = await ada.tms.new_client("stranger")
    said = await ada.no(404, headers=stranger)
    assert said == words.format("h1", mine).replace("portal", "stranger")
    assert (await ada.make())["result_code"] == "0"


async def test_a_key_that_has_ended_or_is_used_up_gets_none_and_takes_what_it_had_along(ada):
    words = f"Pubkey for client portal@default on host h1 with fingerprint {ada.key['public_key_fingerprint']}"
    key = {"client_id": "portal", "tenant": "default", "host": "h1",
           "public_key_fingerprint": ada.key["public_key_fingerprint"]}  # fmt: skip
    now = date(ada.tms.clock.now())
    for end, again, said in (
        ({"max_uses": 0}, {"max_uses": 9}, f"{words} has no remaining uses."),
        ({"ttl_minutes": 0}, {"ttl_minutes": 99}, f"{words} expired at {now}."),
    ):
        await ada.tms.good("PATCH", "pubkeys", ada.tms.client, {**key, **end})
        assert await ada.no(403) == said
        await ada.tms.good("PATCH", "pubkeys", ada.tms.client, {**key, **again})
        path = f"reservations/portal/{(await ada.make())['resid']}"
        await ada.tms.good("GET", path, ada.tms.client)
    assert (await ada.tms.good("DELETE", "pubkeys/del", ada.tms.client, key))["num_deleted"] == 1
    await ada.tms.no("GET", path, ada.tms.client, None, 404)


async def test_everything_must_stand_and_the_user_must_be_the_keys(ada):
    await ada.mode.mfa("bob")
    await ada.mode.link("bob", "ada")
    await ada.mode.delegate("portal", "bob")
    said = await ada.no(403, client_user_id="bob")  # the old server asked whether bob could, and noted bob
    assert said.startswith(DEPENDENCY)
    assert "bob" in said
    place = {"tenant": "default", "tms_user_id": "ada", "host": "h1", "host_account": "ada"}
    ends = {
        "userhosts/upd": place,
        "delegations/upd": {"tenant": "default", "client_id": "portal", "client_user_id": "ada"},
    }
    parent = await ada.make()
    for path, body in ends.items():
        await ada.tms.good("PATCH", path, ada.tms.admin, {**body, "ttl_minutes": 0})
        assert (await ada.no(403)).startswith(DEPENDENCY), path
        assert (await ada.no(403, "reservations/extend", parent_resid=parent["resid"])).startswith(DEPENDENCY)
        await ada.tms.good("PATCH", path, ada.tms.admin, {**body, "ttl_minutes": -1})
        assert (await ada.make())["result_code"] == "0"
    ada.tms.clock.move(3601)
    assert (await ada.no(403)).startswith(DEPENDENCY)  # the MFA record: a reservation leads to no other


async def test_a_child_ends_with_its_parent_and_is_for_the_same(ada):
    parent = await ada.make(ttl_minutes=90)
    ada.tms.clock.move(60)
    child = await ada.extend(parent["resid"])
    assert child == {**parent, "resid": child["resid"]}
    assert UUID4.fullmatch(child["resid"])
    assert child["resid"] != parent["resid"]
    path = f"reservations/portal/{child['resid']}"
    assert (await ada.tms.good("GET", path, ada.tms.client))["parent_resid"] == parent["resid"]
    extend, mine = "reservations/extend", {"parent_resid": parent["resid"]}
    assert (await ada.no(403, extend, parent_resid=child["resid"])).startswith(DEPENDENCY)
    for other in ({"host": "h2"}, {"public_key_fingerprint": "SHA256:" + "A" * 43}, {"client_user_id": "bob"}):
        assert (await ada.no(403, extend, **mine, **other)).startswith(DEPENDENCY), other
    second = await ada.mode.make()
    fingerprint = second["public_key_fingerprint"]
    assert (await ada.no(403, extend, **mine, public_key_fingerprint=fingerprint)).startswith(DEPENDENCY)
    for unknown in (NOBODY, "", "x{y}", "'"):
        said = await ada.no(404, extend, parent_resid=unknown)
        assert said == (f"{DEPENDENCY}NOT_FOUND: Reservation {unknown} not found for client portal in tenant default.")
    # Past the MFA record's end a child is still made, as long as the parent lasts.
    ada.tms.clock.move(70 * 60)
    assert (await ada.extend(parent["resid"]))["expires_at"] == parent["expires_at"]
    ada.tms.clock.move(20 * 60)
    assert (await ada.no(403, extend, **mine)).startswith(DEPENDENCY)


async def test_a_client_reads_and_deletes_its_own_only(ada):
    made = await ada.make()
    stranger = await ada.tms.new_client("stranger")
    assert await ada.tms.no("GET", f"reservations/stranger/{made['resid']}", stranger, None, 404) == "NOT_FOUND"
    for path in ("reservations/del", "reservations/del/related"):
        said = await ada.tms.good("DELETE", f"{path}/stranger/{made['resid']}", stranger)
        assert said["num_deleted"] == 0
        said = await ada.tms.good("DELETE", f"{path}/stranger/{made['resid']}", ada.tms.admin)
        assert said["num_deleted"] == 0  # it is the portal's
    said = await ada.tms.no(
        "POST", "reservations/extend", stranger, ada.body(parent_resid=made["resid"]), 404
    )  # fmt: skip
    assert said.startswith(DEPENDENCY)
    for odd in ("a%2Fb", "%C3%A9", "x" * 300):
        assert await ada.tms.no("GET", f"reservations/portal/{odd}", ada.tms.client, None, 404) == "NOT_FOUND"
        assert (await ada.remove(odd))["num_deleted"] == 0
    said = await ada.tms.good("DELETE", f"reservations/del/portal/{made['resid']}", ada.tms.admin)
    assert said["num_deleted"] == 1


async def test_it_carries_its_key_past_the_mfa_record_and_no_other(ada):
    second = await ada.mode.make()
    parent = await ada.make(ttl_minutes=600)
    child = await ada.extend(parent["resid"])
    ada.tms.clock.move(3601)
    assert await ada.opens()
    assert not await ada.opens(second)
    # The child alone carries it, too; without its parent it is worth nothing.
    await ada.remove(child["resid"])
    assert await ada.opens()
    child = await ada.extend(parent["resid"])
    assert (await ada.remove(parent["resid"]))["num_deleted"] == 1
    assert not await ada.opens()
    said = await ada.no(404, "reservations/extend", parent_resid=parent["resid"])
    assert said.startswith(DEPENDENCY)


async def test_it_ends_with_its_own_time_and_with_all_its_children(ada):
    parent = await ada.make(ttl_minutes=90)
    children = [await ada.extend(parent["resid"]) for _ in range(3)]
    ada.tms.clock.move(3601)
    assert await ada.opens()
    said = await ada.remove(children[0]["resid"], related=True)
    assert (said["num_deleted"], said["result_msg"]) == (
        1, f"Reservation {children[0]['resid']} deleted along with all its children.",
    )  # fmt: skip
    assert await ada.opens()
    assert (await ada.remove(parent["resid"], related=True))["num_deleted"] == 3
    assert not await ada.opens()
    path = f"reservations/portal/{children[1]['resid']}"
    await ada.tms.no("GET", path, ada.tms.client, None, 404)


async def test_children_that_outlive_their_parent_are_deleted_by_its_name(ada):
    parent = await ada.make()
    children = [await ada.extend(parent["resid"]) for _ in range(2)]
    await ada.remove(parent["resid"])
    path = f"reservations/portal/{children[0]['resid']}"
    await ada.tms.good("GET", path, ada.tms.client)  # ended, but there
    stranger = await ada.tms.new_client("stranger")
    for client, headers in (("stranger", stranger), ("stranger", ada.tms.admin)):
        said = await ada.tms.good("DELETE", f"reservations/del/related/{client}/{parent['resid']}", headers)
        assert said["num_deleted"] == 0
    assert (await ada.remove(parent["resid"]))["num_deleted"] == 0
    said = await ada.remove(parent["resid"], related=True)
    assert (said["num_deleted"], said["result_msg"]) == (
        2, f"Reservation {parent['resid']} deleted along with all its children.",
    )  # fmt: skip
    await ada.tms.no("GET", path, ada.tms.client, None, 404)
    assert (await ada.remove(parent["resid"], related=True))["num_deleted"] == 0


async def test_what_has_ended_is_said_as_it_is_said_of_a_new_key(ada):
    ends = {
        "userhosts/upd": {"tms_user_id": "ada", "host": "h1", "host_account": "ada"},
        "delegations/upd": {"client_id": "portal", "client_user_id": "ada"},
    }
    said = []
    for path, body in ends.items():
        body = {"tenant": "default", **body}
        await ada.tms.good("PATCH", path, ada.tms.admin, {**body, "ttl_minutes": 0})
        said.append(await ada.no(403))
        assert said[-1] == DEPENDENCY + await ada.mode.refused()
        assert said[-1].endswith(f" expired at {date(ada.tms.clock.now())}.")
        await ada.tms.good("PATCH", path, ada.tms.admin, {**body, "ttl_minutes": -1})
    now = ada.tms.clock.now()
    ada.tms.clock.move(3601)
    said.append(await ada.no(403))
    assert said[-1] == DEPENDENCY + await ada.mode.refused()
    assert said[-1].endswith(f" expired at {date(now + 3600)}.")
    nouns = [text.removeprefix(f"{DEPENDENCY}Required ").partition(" record ")[0] for text in said]
    assert nouns == ["user host", "delegation", "user MFA"]


async def test_it_carries_nothing_past_what_is_taken_back(ada):
    parent = await ada.make()
    ada.tms.clock.move(3601)
    operator, good = ada.tms.world.operator, ada.tms.world.good
    for noun in ("users/ada", "clients/portal", "hosts/h1"):
        await good("PATCH", noun, auth=operator, json={"enabled": False})
        assert not await ada.opens(), noun
        await good("PATCH", noun, auth=operator, json={"enabled": True})
        assert await ada.opens(), noun
    place = {"tenant": "default", "tms_user_id": "ada", "host": "h1", "host_account": "ada"}
    await ada.tms.good("PATCH", "userhosts/upd", ada.tms.admin, {**place, "ttl_minutes": 0})
    assert not await ada.opens()
    await ada.tms.good("PATCH", "userhosts/upd", ada.tms.admin, {**place, "ttl_minutes": -1})
    assert await ada.opens()
    ada.tms.clock.move(9 * 3600)
    assert not await ada.opens()  # its own time
    path = f"reservations/portal/{parent['resid']}"
    assert (await ada.tms.good("GET", path, ada.tms.client))["expires_at"] == parent["expires_at"]


async def test_many_at_once_are_all_made_or_refused_with_a_reason(ada):
    answers = await asyncio.gather(
        *(ada.tms.call("POST", "reservations", ada.tms.client, ada.body()) for _ in range(8))
    )  # fmt: skip
    assert {answer.status for answer in answers} == {201}
    made = {answer.json["resid"] for answer in answers}
    assert len(made) == len(answers)
    parent = made.pop()
    answers = await asyncio.gather(
        ada.tms.call("DELETE", f"reservations/del/portal/{parent}", ada.tms.client),
        *(ada.tms.call("POST", "reservations/extend", ada.tms.client, ada.body(parent_resid=parent)) for _ in range(3)),
    )
    assert {answer.status for answer in answers} <= {200, 201, 404}
    ada.tms.clock.move(3601)
    for resid in made:
        await ada.remove(resid)
    assert not await ada.opens()  # a child that was made in time ended with its parent
