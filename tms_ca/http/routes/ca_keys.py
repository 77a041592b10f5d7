"""CA keys: next -> active -> retiring -> retired."""

from typing import Any

from schemas.operations import CaKeyCreate, CaKeyRetire, CaKeyShape
from tms_ca.core.access import Action
from tms_ca.core.model import CaKey
from tms_ca.http.endpoint import Call, Page, endpoint


@endpoint("POST", "ca-keys", needs=Action.CA_KEY_WRITE, body=CaKeyCreate(), returns=CaKeyShape(), status=201,
          problems=(400,))  # fmt: skip
async def create_ca_key(call: Call[dict[str, Any]]) -> CaKey:
    """Make a key in the state `next`: published for hosts to trust, not signing yet."""
    return await call.context.cakeys.create(call.caller, call.tenant, call.body["purpose"], call.body["algorithm"])


@endpoint("GET", "ca-keys", needs=Action.CA_KEY_READ, returns=CaKeyShape())
async def list_ca_keys(call: Call[None]) -> Page:
    """List the CA keys, oldest first."""
    return Page(await call.context.cakeys.every(call.tenant))


@endpoint("GET", "ca-keys/{fingerprint}", needs=Action.CA_KEY_READ, returns=CaKeyShape(), problems=(404,))
async def get_ca_key(call: Call[None]) -> CaKey:
    """Return one CA key; write the fingerprint's `/` as `%2F`."""
    return await call.context.cakeys.get(call.tenant, call.path["fingerprint"])


@endpoint("POST", "ca-keys/{fingerprint}/activate", needs=Action.CA_KEY_WRITE, returns=CaKeyShape(),
          problems=(404, 409))  # fmt: skip
async def activate_ca_key(call: Call[None]) -> CaKey:
    """Let a `next` key sign, or a `retiring` one again; the one that signed so far becomes `retiring`."""
    return await call.context.cakeys.activate(call.caller, call.tenant, call.path["fingerprint"])


@endpoint("POST", "ca-keys/{fingerprint}/retire", needs=Action.CA_KEY_WRITE, body=CaKeyRetire(),
          returns=CaKeyShape(), problems=(400, 404, 409))  # fmt: skip
async def retire_ca_key(call: Call[dict[str, Any]]) -> CaKey:
    """End the trust in a key; refused while its certificates live, unless forced."""
    return await call.context.cakeys.retire(
        call.caller, call.tenant, call.path["fingerprint"], force=call.body["force"]
    )


ENDPOINTS = (create_ca_key, list_ca_keys, get_ca_key, activate_ca_key, retire_ca_key)
