"""A machine that joins, as far as the service sees it."""

import hashlib
import secrets
from typing import Any

from tests.world import Key, World, ssh_keygen

JOIN = "/api/v1/join"


def new_credential() -> tuple[str, str]:
    """Return a credential that a machine makes for itself, and its digest."""
    secret = "tms_h_" + secrets.token_urlsafe(32)
    return secret, hashlib.sha256(secret.encode()).hexdigest()


async def invite(world: World, host: str = "h1", **more: Any) -> dict[str, Any]:
    return await world.good("POST", f"hosts/{host}/join-tokens", auth=world.operator, json=more)


def host_key(world: World, name: str = "hostkey", *options: str) -> Key:
    path = world.keys / name
    return Key(path) if path.exists() else ssh_keygen(world.keys, name, *options)


def join_body(
    world: World, token: str, node: str = "login1", *, keys: list[str] | None = None, digest: str = ""
) -> Any:
    return {
        "join_token": token,
        "credential_sha256": digest or new_credential()[1],
        "node": node,
        "ssh_host_keys": keys or [host_key(world, f"hostkey-{node}").public],
    }


async def join(world: World, host: str = "h1", node: str = "login1", keys: list[str] | None = None) -> tuple[str, Any]:
    """Invite and join; return the machine's credential and the answer."""
    secret, digest = new_credential()
    token = (await invite(world, host))["join_token"]
    return secret, await world.good("POST", JOIN, json=join_body(world, token, node, keys=keys, digest=digest))
