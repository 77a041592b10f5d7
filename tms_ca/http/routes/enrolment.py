"""Machines that join as a host, their credentials and host certificates."""

from typing import Any

from schemas.enrolment import (
    CredentialCreate,
    CredentialShape,
    HostCertificatesCreate,
    HostCertificatesShape,
    InvitationCreate,
    InvitationShape,
    JoinCreate,
    JoinedShape,
)
from tms_ca.core.access import Action, Role
from tms_ca.core.errors import Denied
from tms_ca.http.credentials import credential
from tms_ca.http.endpoint import Call, endpoint
from tms_ca.services.enrolment import Invitation
from tms_ca.services.hostcerts import HostCertificates
from tms_ca.services.ids import secret_digest


def own_host(call: Call[Any]) -> bytes:
    """Return the digest of the credential of a host that calls about itself; of no credential, nothing.

    Raises:
        Denied: it calls about another

    """
    if call.caller.role is not Role.HOST:
        return b""
    if call.path["host"] != call.caller.id:
        raise Denied("host_mismatch", "the credential belongs to another host than the one in the path")
    return secret_digest(credential(call.headers["Authorization"])[1])


@endpoint("POST", "hosts/{host}/join-tokens", needs=Action.HOST_INVITE, body=InvitationCreate(),
          returns=InvitationShape(), status=201, problems=(400, 404))  # fmt: skip
async def invite_host(call: Call[dict[str, Any]]) -> Invitation:
    """Make a token that lets one machine join as this host, once; an older token of the host is void."""
    seconds = call.body["lifetime_seconds"]
    return await call.context.enrolment.invite(call.caller, call.tenant, call.path["host"], seconds)


@endpoint("POST", "/api/v1/join", needs=Action.PUBLIC, body=JoinCreate(), returns=JoinedShape(), status=201,
          problems=(400, 401, 409, 429))  # fmt: skip
async def join(call: Call[dict[str, Any]]) -> dict[str, Any]:
    """Join as the host that a join token is for.

    The machine made its credential itself and sends the digest alone. It gets a certificate for each of its host
    keys, and the trust bundle; it must check the bundle by a host CA fingerprint that it was given with the token.
    """
    body = call.body
    joined = await call.context.enrolment.join(
        call.caller, body["join_token"], bytes.fromhex(body["credential_sha256"]), body["node"], body["ssh_host_keys"],
        replace=body["replace"],
    )  # fmt: skip
    return {
        "tenant": joined.tenant,
        "host": joined.host,
        "credential_id": joined.credential_id,
        "names": joined.names,
        "host_certificates": joined.host_certificates.certificates,
        "trust": await call.context.trust.bundle(joined.tenant),
    }


@endpoint("POST", "hosts/{host}/credential", needs=Action.HOST_SELF, body=CredentialCreate(),
          returns=CredentialShape(), status=201, problems=(400, 409))  # fmt: skip
async def renew_credential(call: Call[dict[str, Any]]) -> dict[str, str]:
    """Add the next credential of this machine; the one that asks goes on working until it is dropped."""
    digest, new = own_host(call), bytes.fromhex(call.body["credential_sha256"])
    return {"credential_id": await call.context.enrolment.renew(call.caller, digest, new, call.body["node"])}


@endpoint("DELETE", "hosts/{host}/credential", needs=Action.HOST_SELF, problems=(409,))
async def drop_other_credentials(call: Call[None]) -> None:
    """Take back every credential of this machine but the one that asks."""
    await call.context.enrolment.drop_others(call.caller, own_host(call))


@endpoint("DELETE", "hosts/{host}/nodes/{node}", needs=Action.NODE_REMOVE, problems=(404,))
async def remove_node(call: Call[None]) -> None:
    """Let a machine leave: its credentials and reports are deleted, the certificates of its host keys end."""
    digest = own_host(call)
    await call.context.enrolment.leave(call.caller, call.tenant, call.path["host"], call.path["node"], digest)


@endpoint("POST", "hosts/{host}/certificates", needs=Action.HOST_SELF, body=HostCertificatesCreate(),
          returns=HostCertificatesShape(), status=201, problems=(400,))  # fmt: skip
async def issue_host_certificates(call: Call[dict[str, Any]]) -> HostCertificates:
    """Certify registered host keys for the host's name and addresses, for 30 days."""
    own_host(call)
    return await call.context.host_certificates.issue(call.caller, call.body["public_keys"])


ENDPOINTS = (
    invite_host, join, renew_credential, drop_other_credentials, remove_node, issue_host_certificates,
)  # fmt: skip
