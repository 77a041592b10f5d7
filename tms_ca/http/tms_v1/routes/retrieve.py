"""Key retrieval: what sshd's AuthorizedKeysCommand asks with tms_keycmd."""

import re

from schemas.tms_v1.retrieve import ReqRetrieveKey
from tms_ca.core.access import Role
from tms_ca.core.errors import Denied, NotFound
from tms_ca.core.keylogin import KeyGrant
from tms_ca.core.model import Caller
from tms_ca.http.credentials import authenticate
from tms_ca.http.tms_v1.answers import NOT_FOUND, Refused, Said
from tms_ca.http.tms_v1.declare import Call, v1
from tms_ca.settings_tms_v1 import Retrieve

# All that an sshd gives a key without options, word by word: such a key goes out bare, as clients know it.
_EVERYTHING = "restrict,pty,port-forwarding,agent-forwarding,X11-forwarding,user-rc"
# It stands last. An sshd before OpenSSH 9.1 takes no line that has it, and the answer is for this moment anyway.
_EXPIRY = re.compile(r',expiry-time="[0-9]{14}Z"$')


@v1("POST", "pubkeys/creds/retrieve", body=ReqRetrieveKey(), rate="retrieve", undisturbed=True,
    why_open="tms_keycmd 0.1 has no credential; tms_v1.retrieve = \"hosts\" asks for the host's own")  # fmt: skip
async def retrieve_key(call: Call) -> Said:
    """Return the public key with this fingerprint, where it opens the account on the host, now."""
    caller, body = await _asker(call), call.body
    metrics = call.context.metrics
    try:
        grant = await call.context.retrieval.retrieve(
            caller, body["host"], body["user"], body["public_key_fingerprint"]
        )
    except (Denied, NotFound) as error:
        metrics.denied.labels("logins.key", error.code).inc()
        raise Refused(404, NOT_FOUND, error.code) from error
    if grant.forgiven is not None:
        metrics.lenient.labels(grant.forgiven).inc()
    return Said({"public_key": _public_key(grant)})


async def _asker(call: Call) -> Caller:
    if call.settings.retrieve is Retrieve.OPEN:
        return call.caller
    caller = await authenticate(call.context, call.request, "", fresh=True)
    if caller.role is not Role.HOST:
        said = "ERROR: NOT AUTHORIZED to retrieve keys: send the host's credential as Authorization: Bearer"
        raise Refused(401, said, "credential_needed")
    if caller.id != call.body["host"]:
        said = f"ERROR: FORBIDDEN - The credential is that of host {caller.id}, not of the host in the request body."
        raise Refused(403, said, "host_mismatch")
    return caller


def _public_key(grant: KeyGrant) -> str:
    """Return the key alone where its line takes nothing away, else the line."""
    options = _EXPIRY.sub("", grant.options)
    key = f"{grant.key_type} {grant.public_key}"
    return key if options == _EVERYTHING else f"{options} {key}"


ENDPOINTS = (retrieve_key,)
