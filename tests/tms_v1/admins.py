"""What every endpoint for admins refuses, in the old server's order and words; and what grants a certificate."""

from typing import Any

from tests.tms_v1.wire import Headers, Tms
from tests.world import basic


async def refused_in_order(tms: Tms, method: str, path: str, body: dict[str, Any] | None, unauthorised: str) -> None:
    """Walk order A: what is not readable, the tenant's header, the same tenant, enabled, the credential.

    Each request has one thing wrong beyond those before; the last check is that of the good one, made by its caller.
    """
    if body is not None:
        content = {"content-type": "application/json"}
        reply = await tms.call(method, path, content, data=b"{")
        assert (reply.status, reply.headers["Content-Type"]) == (400, "text/plain; charset=utf-8")
        for name in body:
            reply = await tms.call(method, path, None, {**body, name: None})
            assert reply.status == 400
            assert reply.body.startswith(f"parse request payload error: {name}: Expected input type ".encode())
    assert await tms.no(method, path, None, body, 400) == "Required 'X-TMS-TENANT' HTTP header not found"
    if body is not None:
        said = await tms.no(method, path, tms.admin, {**body, "tenant": "other"}, 403)
        assert said == (
            "ERROR: FORBIDDEN - The tenant in the X-TMS-TENANT header (default) does not match the tenant in the "
            "request body (other)"
        )
    elsewhere = None if body is None else {**body, "tenant": "other"}
    assert await tms.no(method, path, {**tms.admin, "X-TMS-TENANT": "other"}, elsewhere, 400) == "Tenant not enabled."
    wanted = f"ERROR: NOT AUTHORIZED {unauthorised}"
    for headers in (
        {"X-TMS-TENANT": "default"},
        {**tms.admin, "X-TMS-ADMIN-SECRET": "tms_a_wrong"},
        {**tms.admin, "X-TMS-ADMIN-ID": "portal"},
        tms.client,  # good, and of the wrong kind
        {
            "X-TMS-TENANT": "default",
            "X-TMS-ADMIN-ID": tms.client["X-TMS-CLIENT-ID"],
            "X-TMS-ADMIN-SECRET": tms.client["X-TMS-CLIENT-SECRET"],
        },
    ):
        assert await tms.no(method, path, headers, body, 401) == wanted, headers


async def refused_of_another_tenant(tms: Tms, method: str, path: str, body: dict[str, Any] | None) -> None:
    """An admin of `other` (made by the caller) reaches nothing of `default`; `tms.admin` is that of `default`."""
    headers: Headers = {**await tms.new_admin("stranger", "other"), "X-TMS-TENANT": "default"}
    assert (await tms.no(method, path, headers, body, 401)).startswith("ERROR: NOT AUTHORIZED ")


async def grant(tms: Tms, user: str = "ada", host: str = "h7", account: str = "ada", minutes: int = 600) -> None:
    """Make through the wire all that a certificate of the client `portal` for `user` rests on."""
    tenant = {"tenant": "default", "ttl_minutes": minutes}
    place = {"tms_user_id": user, "host": host, "host_account": account}
    await tms.good("POST", "usermfa", tms.admin, {**tenant, "tms_user_id": user}, 201)
    await tms.good("POST", "userhosts", tms.admin, {**tenant, **place}, 201)
    await tms.good("POST", "delegations", tms.admin, {**tenant, "client_id": "portal", "client_user_id": user}, 201)


async def issue(tms: Tms, user: str = "ada", host: str = "h7", account: str = "ada") -> Any:
    """Ask, as the client `portal`, for a certificate."""
    tms.world.clients["portal"] = basic("portal", tms.client["X-TMS-CLIENT-SECRET"])
    return await tms.world.issue(user=user, host=host, account=account)


async def escrow(tms: Tms, user: str = "ada", host: str = "h7", account: str = "ada") -> Any:
    """Ask, as the client `portal`, for a plain key to be kept."""
    body = tms.world.issue_body(user=user, host=host, account=account)
    tms.world.clients["portal"] = basic("portal", tms.client["X-TMS-CLIENT-SECRET"])
    return await tms.world.call("POST", "public-keys", auth=tms.world.clients["portal"], json=body)


async def revoked(tms: Tms, serial: str) -> bool:
    """Tell whether a certificate has been ended."""
    found = await tms.world.good("GET", f"certificates/{serial}", auth=tms.world.operator)
    return found["revocation_id"] is not None
