"""What hosts and people must trust, for anyone to read."""

from aiohttp import web

from schemas.enrolment import TrustShape
from tms_ca.core.access import Action
from tms_ca.http.endpoint import Call, endpoint
from tms_ca.services.trust import Signed


@endpoint("GET", "trust", needs=Action.PUBLIC, returns=TrustShape(), problems=(404, 503))
async def get_trust(call: Call[None]) -> Signed:
    """Return the CA keys and the KRL's digest, signed by the tenant's host CA key (SSHSIG, `ssh-keygen -Y verify`).

    Every revocation that was answered before this request is in it.
    """
    return await call.context.trust.bundle(call.tenant)


@endpoint("GET", "known_hosts", needs=Action.PUBLIC, media=("text/plain",), problems=(404,))
async def get_known_hosts(call: Call[None]) -> web.Response:
    """Return `@cert-authority` lines for known_hosts: each host by its name and addresses, and nothing else."""
    text = await call.context.trust.known_hosts(call.tenant)
    return web.Response(text=text, headers={"Cache-Control": "public, max-age=60"})


ENDPOINTS = (get_trust, get_known_hosts)
