"""What asks for keys, and a key to ask for, made through the other API."""

import subprocess
from dataclasses import dataclass, field
from typing import Any

from tests.tms_v1.wire import Tms
from tests.watch.test_metrics import values
from tests.world import Key, basic, ssh_keygen

EXTENSIONS = [
    "permit-X11-forwarding", "permit-agent-forwarding", "permit-port-forwarding", "permit-pty", "permit-user-rc",
]  # fmt: skip


def fingerprint_of(pair: Key) -> str:
    return subprocess.check_output(["ssh-keygen", "-l", "-f", f"{pair.path}.pub"], text=True).split()[1]


@dataclass
class Asker:
    """alice, who delegated all that a key line can carry to the client `portal`; tms_keycmd of the host h1."""

    tms: Tms
    tenant: str = "default"
    keys: str = "id"
    public: str = "ssh-ed25519 AAAA"
    fingerprint: str = "SHA256:" + "B" * 43
    delegation: dict[str, Any] = field(default_factory=dict)

    async def furnish(self) -> None:
        world, clients = self.tms.world, self.tms.world.clients
        world.tenant = self.tenant
        if self.tenant == "default":
            clients["portal"] = basic("portal", self.tms.client["X-TMS-CLIENT-SECRET"])
        else:
            await world.add_client("portal")
        self.client = clients["portal"]
        await world.add_host("h1")
        await world.add_user("alice")
        await world.link("alice", "h1", "alice")
        wide = {"constraints": {"extensions": EXTENSIONS}}
        self.delegation = await world.delegate("alice", "portal", "h1", "alice", **wide)
        pair = ssh_keygen(world.keys, f"{self.keys}_ed25519")
        self.public, self.fingerprint = pair.public, fingerprint_of(pair)
        await self.escrow()
        world.tenant = "default"

    async def escrow(self, **more: Any) -> dict[str, Any]:
        body = {"user": "alice", "host": "h1", "account": "alice", "public_key": self.public, **more}
        return await self.tms.world.good("POST", "public-keys", auth=self.client, json=body, tenant=self.tenant)

    async def prove(self) -> None:
        """Let alice log in and prove her second factor again."""
        await self.tms.world.log_in("alice")
        await self.tms.world.verify("alice")

    def question(self, **more: Any) -> dict[str, Any]:
        """Return the body that tms_keycmd sends."""
        asked = {
            "user": "alice", "user_uid": "1000", "host": "h1", "public_key_fingerprint": self.fingerprint,
            "key_type": "ssh-ed25519",
        }  # fmt: skip
        return {**asked, **more}

    async def key(self, **more: Any) -> str | None:
        """Ask; return what sshd would be given, None for a no."""
        reply = await self.tms.call("POST", "pubkeys/creds/retrieve", None, self.question(**more))
        if reply.status == 200:
            return reply.json["public_key"]
        assert (reply.status, reply.json) == (404, {"result_code": "404", "result_msg": "NOT_FOUND"}), reply.body
        return None

    async def no(self, **more: Any) -> str:
        """Ask, insist on a no, and return its text."""
        return await self.tms.no("POST", "pubkeys/creds/retrieve", None, self.question(**more), 404)

    async def metric(self, name: str, **labels: str) -> float:
        text = (await self.tms.world.call("GET", "/metrics")).body.decode()
        inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
        return values(text).get(f"{name}{{{inside}}}", 0)
