"""What an admin grants through the wire, and what a client then gets."""

from typing import Any

from tests.tms_v1.wire import Tms
from tests.world import basic


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


async def reserve(tms: Tms, user: str = "ada", host: str = "h7", account: str = "ada") -> None:
    """Make, as the client `portal`, a reservation for certificates."""
    body = {"user": user, "host": host, "account": account, "lifetime_seconds": 3600, "purpose": "nightly"}
    tms.world.clients["portal"] = basic("portal", tms.client["X-TMS-CLIENT-SECRET"])
    await tms.world.good("POST", "reservations", auth=tms.world.clients["portal"], json=body)
