"""Ask a service process for this and that, many at a time, and write down how long each answer took."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.ssh.service import People

TENANT = "/api/v1/tenants/default/"
# Each change makes whoever is deciding in its tenant decide anew: one upon another would leave no room for them.
PAUSE = {"change": 0.4, "revoke": 0.4}


@dataclass(frozen=True)
class Asked:
    what: str
    at: float  # seconds of time.monotonic()
    seconds: float
    status: int  # 0 where the connection failed
    serial: str = ""


@dataclass
class Asking:
    """Callers that ask one service again and again until `stop` is set."""

    people: People
    url: str
    public_key: str
    certificate: str = ""  # one to check logins with
    asked: list[Asked] = field(default_factory=list)
    waiting: set[object] = field(default_factory=set)  # those whose answer has not come
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def _bodies(self, number: int) -> dict[str, tuple[str, str, str, Any]]:
        p = self.people
        check = {"account": p.account, "certificate": self.certificate, "nonce": "00"}
        revoke = {"serial": str(number), "reason": "of none"}
        return {
            "issue": ("POST", "certificates", p.client, p.body(self.public_key)),
            "check": ("POST", "hosts/h1/principals", f"Bearer {p.host}", check),
            "list": ("GET", "certificates?limit=5", p.service.operator, None),
            "change": ("PATCH", "users/alice", p.service.operator, {"display_name": f"number {number}"}),
            "revoke": ("POST", "revocations", p.service.operator, revoke),
            "krl": ("GET", "krl", "", None),
        }

    async def once(self, http: aiohttp.ClientSession, what: str, number: int = 0) -> Asked:
        method, path, auth, body = self._bodies(number)[what]
        begun, mine = time.monotonic(), object()
        self.waiting.add(mine)
        status, serial = 0, ""
        headers = {"Authorization": auth} if auth else {}
        try:
            async with http.request(method, self.url + TENANT + path, headers=headers, json=body) as answer:
                found = await answer.read()
                status = answer.status
                if what == "issue" and status == 201:
                    serial = (await answer.json())["serial"]
                del found
        except (aiohttp.ClientError, OSError):
            status = 0
        self.waiting.discard(mine)
        made = Asked(what, begun, time.monotonic() - begun, status, serial)
        self.asked.append(made)
        return made

    async def run(self, whats: list[str], callers: int) -> None:
        """Ask until `stop`, with `callers` for each of `whats`."""

        async def one(what: str) -> None:
            number = 0
            while not self.stop.is_set():
                number += 1
                await self.once(http, what, number)
                await asyncio.sleep(PAUSE.get(what, 0.005))

        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
            await asyncio.gather(*(one(what) for what in whats for _ in range(callers)))

    async def answered(self) -> None:
        """Wait until all that waits now has its answer."""
        now = set(self.waiting)
        async with asyncio.timeout(60):
            while now & self.waiting:
                await asyncio.sleep(0.02)

    def between(self, begin: float, end: float) -> list[Asked]:
        """Return what was asked in that time."""
        return [one for one in self.asked if begin <= one.at < end]


def told(asked: list[Asked]) -> dict[str, Counter[int]]:
    """Return how often each status was the answer to what."""
    found: dict[str, Counter[int]] = {}
    for one in asked:
        found.setdefault(one.what, Counter())[one.status] += 1
    return found


def resident(pids: list[int]) -> int:
    """Return the resident memory of processes, in bytes."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total


def family(pid: int) -> list[int]:
    """Return the process ids of `pid` and its children."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
