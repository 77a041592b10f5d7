"""Calls as TMS clients make them."""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.fakes import FakeClock
from tests.world import Reply, World

NEVER = "9999-12-31T23:59:59+00:00"
Headers = dict[str, str]


@dataclass
class Tms:
    """A running service, an administrator of the tenant `default` and the client `portal`."""

    world: World
    admin: Headers = field(default_factory=dict)
    client: Headers = field(default_factory=dict)

    @property
    def clock(self) -> FakeClock:
        return self.world.clock

    async def furnish(self) -> None:
        self.admin = await self.new_admin("boss")
        self.client = await self.new_client("portal")

    async def new_admin(self, admin_id: str, tenant: str = "default") -> Headers:
        body = {"admin_id": admin_id}
        made = await self.world.good("POST", "admins", auth=self.world.operator, json=body, tenant=tenant)
        return {"X-TMS-TENANT": tenant, "X-TMS-ADMIN-ID": admin_id, "X-TMS-ADMIN-SECRET": made["secret"]}

    async def new_client(self, client_id: str, tenant: str = "default") -> Headers:
        body = {"client_id": client_id}
        made = await self.world.good("POST", "clients", auth=self.world.operator, json=body, tenant=tenant)
        return {"X-TMS-TENANT": tenant, "X-TMS-CLIENT-ID": client_id, "X-TMS-CLIENT-SECRET": made["secret"]}

    async def call(self, method: str, path: str, headers: Headers | None = None, body: Any = None, **raw: Any) -> Reply:
        """Call /v1/tms/PATH; `body` goes as JSON."""
        headers = dict(headers or {})
        if body is not None:
            headers.setdefault("Content-Type", "application/json; charset=utf-8")
            raw["data"] = json.dumps(body).encode()
        whole = path if path.startswith("/") else f"/v1/tms/{path}"
        return await self.world.call(method, whole, headers=headers, **raw)

    async def good(
        self, method: str, path: str, headers: Headers | None = None, body: Any = None, status: int = 200
    ) -> dict[str, Any]:
        """Call, insist on `status` and on what every yes has; return the members."""
        reply = await self.call(method, path, headers, body)
        assert reply.status == status, (method, path, reply.status, reply.body)
        assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
        assert reply.json["result_code"] == "0"
        assert list(reply.json) == sorted(reply.json)
        return reply.json

    async def no(self, method: str, path: str, headers: Headers | None, body: Any, status: int) -> str:
        """Call, insist on a refusal with `status` and on its two members; return the text."""
        reply = await self.call(method, path, headers, body)
        assert reply.status == status, (method, path, reply.status, reply.body)
        assert set(reply.json) == {"result_code", "result_msg"}
        assert reply.json["result_code"] == str(status)
        return reply.json["result_msg"]
