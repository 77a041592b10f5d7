"""Plain keys in a world of tests: escrowed, asked about, and logged in with."""

import subprocess

from tests.logins.telling import told
from tests.world import Key

NONCE = "0123456789abcdef"


def public(world, name="id") -> str:
    return Key(world.keys / name).public


def fingerprint(world, name="id") -> str:
    return subprocess.check_output(["ssh-keygen", "-l", "-f", world.keys / f"{name}.pub"], text=True).split()[1]


async def escrow(world, **more):
    reply = await world.call("POST", "public-keys", auth=world.clients["portal"], json=world.issue_body(**more))
    assert reply.status == 201, reply.json
    return reply.json


async def ask(world, *, key=None, account="alice", host="h1", **more):
    """Ask as the host's helper does, for a host that reports its logins unless told otherwise."""
    body = {"account": account, "fingerprint": key or fingerprint(world), "key_type": "ssh-ed25519", "nonce": NONCE,
            "reports_logins": True, **more}  # fmt: skip
    return await world.call("POST", f"hosts/{host}/keys", auth=world.hosts[host], json=body)


def by_key(world, name="id", **more):
    """Return what a host sends of a login with a plain key."""
    body = told(world, "", public_key=public(world, name), **more)
    del body["certificate"]
    return body


async def key_of(world) -> dict:
    path = "public-keys/" + fingerprint(world).replace("/", "%2F").replace("+", "%2B")
    return await world.good("GET", path, auth=world.operator)
