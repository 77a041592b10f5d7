"""A user, a host, an account and a client that may make key pairs for them, all through the wire API."""

import asyncio
import subprocess
from dataclasses import dataclass, field
from typing import Any

from tests.tms_v1.wire import Headers, Tms
from tests.world import Reply, World, _rfc3339

WISH = {"client_user_id": "ada", "host": "h1", "host_account": "ada", "num_uses": -1, "ttl_minutes": -1}
PLACE = {"tenant": "default", "client_id": "portal"}


@dataclass
class KeyMode:
    """What asks for key pairs."""

    tms: Tms
    secrets: dict[str, str] = field(default_factory=dict)  # of hosts

    @property
    def world(self) -> World:
        return self.tms.world

    async def furnish(self) -> None:
        await self.mfa("ada")
        await self.link("ada", "ada")
        await self.delegate("portal", "ada")

    async def mfa(self, user: str, minutes: int = -1) -> None:
        body = {"tenant": "default", "tms_user_id": user, "ttl_minutes": minutes}
        await self.tms.good("POST", "usermfa", self.tms.admin, body, 201)

    async def link(self, user: str, account: str, minutes: int = -1, host: str = "h1") -> None:
        body = {"tenant": "default", "tms_user_id": user, "host": host, "host_account": account, "ttl_minutes": minutes}
        await self.tms.good("POST", "userhosts", self.tms.admin, body, 201)

    async def link_reserved(self, user: str, account: str, host: str = "h1") -> None:
        """Link a user to an account of the system, which takes an operator and the other API."""
        until = _rfc3339(self.tms.clock.now() + 86400)
        link = {"user": user, "host": host, "account": account, "expires_at": until, "allow_reserved": True}
        await self.world.good("POST", "account-links", auth=self.world.operator, json=link)

    async def delegate(self, client_id: str, user: str, minutes: int = -1) -> None:
        body = {"tenant": "default", "client_id": client_id, "client_user_id": user, "ttl_minutes": minutes}
        await self.tms.good("POST", "delegations", self.tms.admin, body, 201)

    async def ask(self, headers: Headers | None = None, **more: Any) -> Reply:
        body = {name: value for name, value in {**WISH, **more}.items() if value is not ...}
        return await self.tms.call("POST", "pubkeys/creds", headers or self.tms.client, body)

    async def make(self, headers: Headers | None = None, **more: Any) -> dict[str, Any]:
        reply = await self.ask(headers, **more)
        assert reply.status == 201, reply.body
        return reply.json

    async def refused(self, **more: Any) -> str:
        """Ask, insist on 403 and on what all its texts begin with; return the rest."""
        reply = await self.ask(**more)
        assert (reply.status, reply.json["result_code"]) == (403, "403"), reply.body
        return reply.json["result_msg"].removeprefix("Missing or expired dependency: ")

    async def listed(self, headers: Headers | None = None) -> list[dict[str, Any]]:
        said = await self.tms.good("GET", "pubkeys/list", headers or self.tms.admin)
        assert said["num_pubkeys"] == len(said["pubkeys"])
        return said["pubkeys"]

    async def login(self, made: dict[str, Any], *, host: str = "h1", account: str = "ada") -> Reply:
        """Ask whether a key opens its account, as the host's own helper does."""
        if host not in self.secrets:
            said = await self.world.good("POST", f"hosts/{host}/secrets", auth=self.world.operator)
            self.secrets[host] = said["secret"]
        body = {
            "account": account, "fingerprint": made["public_key_fingerprint"], "nonce": "0" * 16,
            "key_type": made["public_key"].split()[0],
        }  # fmt: skip
        return await self.world.call("POST", f"hosts/{host}/keys", auth=self.secrets[host], json=body)

    def private_file(self, made: dict[str, Any], name: str = "made") -> str:
        """Write the private key as a client would, and return its path."""
        path = self.world.keys / name
        path.write_text(made["private_key"])
        path.chmod(0o600)
        return str(path)


async def ssh_keygen(*arguments: str) -> str:
    """Return what the real ssh-keygen says."""
    done = await asyncio.to_thread(
        subprocess.run, ["ssh-keygen", *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
