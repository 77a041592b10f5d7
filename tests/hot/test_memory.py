"""What is remembered is what the database says now, whatever was changed, by whom and how."""

from random import Random

from sqlalchemy import update

from tests.hot.conftest import another
from tests.world import World, ssh_keygen
from tms_ca.core.publickey import parse_public_key
from tms_ca.services.ids import secret_digest
from tms_ca.store import tables as t
from tms_ca.store.memory import RememberedFacts

STEPS = 60


def facts_of(world: World) -> RememberedFacts:
    return world.context.logins._facts


class Walker:
    """Changes a world through its API, step by step, and compares what is remembered with what is so."""

    def __init__(self, world: World, dice: Random, others: list[World] = ()) -> None:
        self.world, self.dice = world, dice
        self.worlds = [world, *others]
        self.serials = {"default": [1], "other": []}
        self.secrets = [world.hosts["h1"], world.clients["portal"].removeprefix("Basic ")]
        self.digests = [secret_digest(world.hosts["h1"])]
        self.lines: list[str] = []
        self.keys = []
        self.done: dict[str, int] = {}
        self.revocations: list[str] = []
        self.links: list[str] = []
        self.reservations: list[str] = []
        self.served = 0

    async def furnish(self) -> None:
        world = self.world
        await world.add_host("h2")
        await world.link("alice", "h2", "alice")
        await world.delegate("alice", "portal", "h2", "alice")
        await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "other"})
        self.digests.append(secret_digest(world.hosts["h2"]))
        self.lines = [world.issue_body()["public_key"], *(ssh_keygen(world.keys, f"key{n}").public for n in range(3))]
        self.keys = [parse_public_key(line) for line in self.lines]
        self.links = [one["id"] for one in (await world.good("GET", "account-links", auth=world.operator))["items"]]

    async def step(self) -> None:
        actions = {
            "issue": 6, "lasting": 3, "flag": 3, "tenant": 1, "revoke": 2, "lift": 3, "link": 2, "delegate": 1, "ca": 1, "mfa": 1,
            "secret": 1, "format": 1, "upkeep": 1, "elsewhere": 1, "reserve": 2,
        }  # fmt: skip
        name = self.dice.choices(list(actions), list(actions.values()))[0]
        await getattr(self, name)()
        self.done[name] = self.done.get(name, 0) + 1

    async def call(self, method: str, path: str, body: object = None, **more):
        world = self.dice.choice(self.worlds)
        reply = await world.call(method, path, auth=more.pop("auth", world.operator), json=body, **more)
        assert reply.status < 500, (path, body, reply.json)
        return reply

    async def issue(self) -> None:
        world, host = self.dice.choice(self.worlds), self.dice.choice(["h1", "h2"])
        public = self.dice.choice(self.lines)
        body = {"user": "alice", "host": host, "account": "alice", "public_key": public}
        if self.reservations and self.dice.random() < 0.5:
            body["reservation_id"] = self.dice.choice(self.reservations)
        reply = await world.call("POST", "certificates", auth=world.clients["portal"], json=body)
        assert reply.status in {201, 401, 403}, reply.json
        if reply.status == 201:
            self.serials["default"].append(int(reply.json["serial"]))
            self.served += 1

    async def lasting(self) -> None:
        """Bring the world back to where certificates are issued."""
        for path in ("clients/portal", "users/alice", "hosts/h1", "hosts/h2", "/api/v1/tenants/default"):
            await self.call("PATCH", path, {"enabled": True})
        while self.revocations:
            await self.call("POST", f"revocations/{self.revocations.pop()}/lift")
        await self.mfa()
        await self.delegate()

    async def flag(self) -> None:
        path = self.dice.choice(["clients/portal", "users/alice", "hosts/h1", "hosts/h2"])
        await self.call("PATCH", path, {"enabled": self.dice.random() < 0.6})

    async def tenant(self) -> None:
        body = self.dice.choice(
            [{"enabled": False}, {"enabled": True}, {"max_ttl_seconds": 7200}, {"mfa_window_seconds": 3600}]
        )
        await self.call("PATCH", "/api/v1/tenants/default", body)

    async def revoke(self) -> None:
        delegations = (await self.call("GET", "delegations")).json["items"]
        what = self.dice.choice(
            [
                {"serial": str(self.dice.choice(self.serials["default"]))}, {"user": "alice"}, {"client_id": "portal"},
                {"host": "h1"}, {"host": "h2"}, {"public_key_fingerprint": self.dice.choice(self.keys[1:]).fingerprint},
                {"delegation_id": self.dice.choice(delegations)["id"]},
            ]
        )  # fmt: skip
        reply = await self.call("POST", "revocations", {**what, "reason": "walk"})
        if reply.status == 201:
            self.revocations.append(reply.json["id"])

    async def lift(self) -> None:
        if self.revocations:
            await self.call("POST", f"revocations/{self.revocations.pop()}/lift")

    async def link(self) -> None:
        until = self.dice.choice(["2026-06-15T00:00:00Z", "2099-01-01T00:00:00Z"])
        await self.call("PATCH", f"account-links/{self.dice.choice(self.links)}", {"expires_at": until})

    async def delegate(self) -> None:
        world = self.world
        host = self.dice.choice(["h1", "h2", "*"])
        asked = await world.call(
            "POST", "delegations", auth=world.clients["portal"],
            json={"user": "alice", "host": host, "account": "alice", "lifetime_seconds": 86400, "purpose": "walk"},
        )  # fmt: skip
        if asked.status == 201 and self.dice.random() < 0.9:
            verb = self.dice.choice(["approve", "approve", "approve", "deny"])
            await world.call("POST", f"delegations/{asked.json['id']}/{verb}", auth=world.sessions["alice"], json={})

    async def ca(self) -> None:
        made = await self.call("POST", "ca-keys", {"purpose": "user", "algorithm": "ed25519"})
        if made.status == 201 and self.dice.random() < 0.7:
            await self.call("POST", f"ca-keys/{made.json['fingerprint'].replace('/', '%2F')}/activate")

    async def mfa(self) -> None:
        world = self.world
        world.clock.move(30)
        await world.call("POST", "mfa/verify", auth=world.sessions["alice"], json={"code": world.code("alice")})

    async def secret(self) -> None:
        """Give a host another secret, and take it back."""
        before = {one["credential_id"] for one in (await self.call("GET", "hosts/h1/secrets")).json["items"]}
        made = await self.call("POST", "hosts/h1/secrets")
        if made.status == 201:
            self.digests.append(secret_digest(made.json["secret"]))
            await self.compare()
            after = {one["credential_id"] for one in (await self.call("GET", "hosts/h1/secrets")).json["items"]}
            (added,) = after - before
            assert (await self.call("DELETE", f"hosts/h1/secrets/{added}")).status == 204

    async def format(self) -> None:
        await self.call("PATCH", "hosts/h2", {"principal_format": self.dice.choice(["account", "account@host"])})

    async def upkeep(self) -> None:
        await self.world.context.upkeep.run(_operator())

    async def reserve(self) -> None:
        """Make a reservation, and as often take one back."""
        world = self.dice.choice(self.worlds)
        if self.reservations and self.dice.random() < 0.5:
            gone = self.reservations.pop()
            assert (await self.call("DELETE", f"reservations/{gone}")).status in {204, 404}
            return
        body = {"user": "alice", "host": "h1", "account": "alice", "lifetime_seconds": 3600, "purpose": "walk"}
        made = await world.call("POST", "reservations", auth=world.clients["portal"], json=body)
        assert made.status in {201, 401, 403}, made.json
        if made.status == 201:
            self.reservations.append(made.json["id"])

    async def elsewhere(self) -> None:
        """Change another tenant: nothing here rests on that."""
        await self.call("PATCH", "/api/v1/tenants/other", {"display_name": f"{self.dice.random()}"})

    async def compare(self) -> None:
        """What each process remembers equals what each one's database says, for every question that was ever asked."""
        for world in self.worlds:
            facts = facts_of(world)
            for serial in self.serials["default"][-6:]:
                for host in ("h1", "h2"):
                    asked = ("default", host, serial)
                    truth = await facts._reader.for_login(*asked)
                    for _ in range(2):
                        at_once = facts.for_login_at_once(*asked)
                        assert at_once is None or at_once == truth, self.done
                        assert await facts.for_login(*asked) == truth, self.done
            for key in self.keys:
                for host in ("h1", "h2", "h9"):
                    asked = ("default", "portal", "alice", host, "alice", key.fingerprint)
                    assert await facts.for_issue(*asked) == await facts._reader.for_issue(*asked), self.done
            for digest in self.digests:
                remembered = facts.remembered_holder(digest)
                epoch = (await facts._reader.standing("default", "SHA256:none"))[0]
                if remembered is not None and remembered.epoch == epoch:
                    assert remembered == await facts._reader.holder(digest), self.done
                await facts.holder(digest)


def _operator():
    from tms_ca.cli.init import local_operator

    return local_operator()


async def walk(walker: Walker, steps: int) -> None:
    await walker.furnish()
    await walker.compare()
    for _ in range(steps):
        await walker.step()
        await walker.compare()
    assert walker.served > steps // 20, walker.done
    assert len(walker.done) > 10


async def test_A_06_what_is_remembered_is_so_after_each_of_many_changes(world):
    await walk(Walker(world, Random(2)), STEPS)


async def test_A_06_what_is_remembered_is_so_whichever_of_two_services_changed_it(world):
    async with another(world) as other:
        await walk(Walker(world, Random(3), [other]), STEPS)


async def known(world: World) -> tuple[RememberedFacts, int]:
    """Return a memory that knows a certificate of its tenant, and the certificate's serial."""
    facts, serial = facts_of(world), int((await world.issue()).json["serial"])
    for _ in range(3):
        assert (await facts.for_login("default", "h1", serial)).issued is not None
    return facts, serial


async def write(world: World, *statements) -> None:
    async with world.context.directory._database.engine.begin() as connection:
        for statement in statements:
            await connection.execute(statement)


def epoch_to(epoch: int):
    return update(t.tenants).where(t.tenants.c.tenant == "default").values(epoch=epoch)


async def test_A_06_an_epoch_that_went_backwards_revives_nothing(world):
    """A backup that is put back, or a standby that lost the last changes, counts the same numbers once more."""
    facts, serial = await known(world)
    epoch = (await facts._reader.standing("default", "SHA256:none"))[0]
    asked = ("default", "portal", "alice", "h1", "alice", "SHA256:x")
    assert (await facts.for_issue(*asked)).user.enabled
    digest = secret_digest(world.hosts["h1"])
    assert (await facts.holder(digest)).enabled
    await write(world, epoch_to(epoch - 2))
    assert (await facts.for_login("default", "h1", serial)).epoch == epoch - 2
    assert (await facts.for_issue(*asked)).epoch == epoch - 2
    await write(world, epoch_to(epoch), update(t.users).values(enabled=False), update(t.hosts).values(enabled=False))
    at_once = facts.for_login_at_once("default", "h1", serial)
    assert at_once is None or not at_once.user.enabled
    assert await facts.for_login("default", "h1", serial) == await facts._reader.for_login("default", "h1", serial)
    assert await facts.for_issue(*asked) == await facts._reader.for_issue(*asked)
    remembered = facts.remembered_holder(digest)
    assert remembered is None or remembered == await facts._reader.holder(digest)


async def test_A_06_a_ban_of_a_host_key_is_seen_in_its_tenant_and_in_no_other(world):
    facts, serial = await known(world)
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "other"})
    assert (await facts.for_login("default", "h1", serial)).key_standing is None
    body = {"host": "h1", "ssh_host_keys": [world.issue_body()["public_key"]]}
    await world.good("POST", "hosts", auth=world.operator, json=body, tenant="other")
    assert (await facts.for_login("default", "h1", serial)).key_standing is None
    await world.good("POST", "hosts", auth=world.operator, json=body | {"host": "h9"})
    truth = await facts._reader.for_login("default", "h1", serial)
    assert truth.key_standing is not None
    assert await facts.for_login("default", "h1", serial) == truth
