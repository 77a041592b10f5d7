"""A service with people in it: one of everything that a certificate rests on, made through the API itself."""

import asyncio
import base64
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pyotp
from yarl import URL

from tests.fakes import FakeClock
from tms_ca.http.context import Context
from tms_ca.settings import Settings

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Any
    body: bytes
    json: Any

    @property
    def code(self) -> str:
        return self.json.get("code", "") if isinstance(self.json, dict) else ""


@dataclass(frozen=True, slots=True)
class Key:
    """A key pair that ssh-keygen made."""

    path: Path

    @property
    def public(self) -> str:
        return self.path.with_name(self.path.name + ".pub").read_text().strip()


def ssh_keygen(directory: Path, name: str, *options: str) -> Key:
    """Make a key pair with the real ssh-keygen."""
    path = directory / name
    options = options or ("-t", "ed25519")
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", "", *options, "-f", path], check=True)
    return Key(path)


@dataclass
class World:
    """A running service and credentials for everybody."""

    base: URL
    http: aiohttp.ClientSession
    clock: FakeClock
    context: Context
    settings: Settings
    operator: str
    keys: Path
    clients: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)
    seeds: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    tenant: str = "default"

    async def call(
        self, method: str, path: str, *, auth: str | None = None, json: Any = None, tenant: str | None = None,
        headers: dict[str, str] | None = None, data: bytes | None = None,
    ) -> Reply:  # fmt: skip
        """Call the API; a relative path lies in the tenant, `auth` is what basic() returned or a bearer token."""
        if not path.startswith("/"):
            path = f"/api/v1/tenants/{tenant or self.tenant}/{path}"
        headers = dict(headers or {})
        if auth is not None:
            headers["Authorization"] = auth if auth.startswith("Basic ") else f"Bearer {auth}"
        if data is not None:
            headers.setdefault("Content-Type", "application/json")
        url = URL(str(self.base).rstrip("/") + path, encoded=True)
        async with self.http.request(
            method, url, json=json, data=data, headers=headers, allow_redirects=False
        ) as response:
            body = await response.read()
            kind = response.content_type
            parsed = await response.json(content_type=None) if kind.endswith("json") and body else None
            return Reply(response.status, response.headers, body, parsed)

    async def good(self, method: str, path: str, **options: Any) -> Any:
        """Call, and insist on a 2xx answer; return its JSON."""
        reply = await self.call(method, path, **options)
        assert reply.status < 300, (method, path, reply.status, reply.json or reply.body)
        return reply.json

    async def add_client(self, client_id: str, **more: Any) -> str:
        made = await self.good("POST", "clients", auth=self.operator, json={"client_id": client_id, **more})
        self.clients[client_id] = basic(client_id, made["secret"])
        return self.clients[client_id]

    async def add_host(self, host: str, **more: Any) -> str:
        made = await self.good("POST", "hosts", auth=self.operator, json={"host": host, **more})
        self.hosts[host] = made["secret"]
        return self.hosts[host]

    async def add_user(self, user: str, *, mfa: bool = True) -> str:
        """Register, log in and (if wanted) enrol and verify TOTP; return the session's token."""
        await self.good("POST", "users", auth=self.operator, json={"user": user, "password": PASSWORD})
        token = await self.log_in(user)
        if mfa:
            enrolled = await self.good("POST", "mfa/totp", auth=token)
            self.seeds[user] = enrolled["seed"]
            await self.verify(user)
        return token

    async def log_in(self, user: str) -> str:
        made = await self.good("POST", "sessions", json={"user": user, "password": PASSWORD})
        self.sessions[user] = made["token"]
        return self.sessions[user]

    def code(self, user: str) -> str:
        """Return the code of now."""
        return pyotp.TOTP(self.seeds[user]).at(self.clock.now())

    def wrong_code(self, user: str) -> str:
        """Return six digits that are no code of now."""
        return wrong_code(self.seeds[user], self.clock.now())

    async def verify(self, user: str) -> None:
        """Open the MFA window; a code works once, so the clock moves to the next."""
        self.clock.move(30)
        await self.good("POST", "mfa/verify", auth=self.sessions[user], json={"code": self.code(user)})

    async def link(self, user: str, host: str, account: str, seconds: int = 365 * 86400) -> dict[str, Any]:
        until = f"{_rfc3339(self.clock.now() + seconds)}"
        body = {"user": user, "host": host, "account": account, "expires_at": until}
        return await self.good("POST", "account-links", auth=self.operator, json=body)

    async def delegate(
        self, user: str, client_id: str, host: str, account: str, *, approve: bool = True, **more: Any
    ) -> dict[str, Any]:
        """Ask for a delegation and (if wanted) approve it as it is."""
        body = {
            "user": user,
            "host": host,
            "account": account,
            "lifetime_seconds": 30 * 86400,
            "purpose": "nightly",
            **more,
        }
        asked = await self.good("POST", "delegations", auth=self.clients[client_id], json=body)
        if approve:
            await self.good("POST", f"delegations/{asked['id']}/approve", auth=self.sessions[user], json={})
        return asked

    def issue_body(self, **more: Any) -> dict[str, Any]:
        """Return a request that the furnished world grants."""
        key = self.keys / "id"
        if not key.exists():
            ssh_keygen(self.keys, "id")
        body = {"user": "alice", "host": "h1", "account": "alice", "public_key": Key(key).public, **more}
        return {name: value for name, value in body.items() if value is not ...}

    async def issue(self, *, client_id: str = "portal", **more: Any) -> Reply:
        return await self.call("POST", "certificates", auth=self.clients[client_id], json=self.issue_body(**more))

    async def check(self, certificate: str, *, host: str = "h1", account: str = "alice") -> Reply:
        """Ask, as the host does at a login."""
        body = {"account": account, "certificate": certificate.strip(), "nonce": "00"}
        return await self.call("POST", f"hosts/{host}/principals", auth=self.hosts[host], json=body)

    async def furnish(self) -> None:
        """One client, one host, one user with MFA, one link, one approved delegation."""
        await self.add_client("portal")
        await self.add_host("h1")
        await self.add_user("alice")
        await self.link("alice", "h1", "alice")
        self.delegation = await self.delegate("alice", "portal", "h1", "alice")


def _rfc3339(moment: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def among_many(ask: Callable[[], Awaitable[Reply]]) -> Reply:
    """Ask; of many at once a slow machine has not the time for all, and who is told so asks again."""
    while (reply := await ask()).code == "overloaded":
        await asyncio.sleep(0.02)
    return reply


async def at_once(*calls: Awaitable[Reply]) -> list[Reply]:
    """Return what is answered to calls that race: ten at a time, for which there is time on the slowest machine."""
    room = asyncio.Semaphore(10)

    async def one(call: Awaitable[Reply]) -> Reply:
        async with room:
            return await call

    return await asyncio.gather(*map(one, calls))


def wrong_code(seed: str, now: int) -> str:
    """Return six digits that are not the code of `now`, nor of the step before or after; of three, one in 300,000 is."""
    totp = pyotp.TOTP(seed)
    near = {totp.at(now + 30 * steps) for steps in (-1, 0, 1)}
    return next(code for code in ("000000", "000001", "000002", "000003") if code not in near)


def basic(name: str, secret: str) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()
