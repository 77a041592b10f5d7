"""Key mode: key pairs made for clients, and the public keys that are kept of them."""

from collections.abc import Mapping

from aiohttp import web

from schemas.tms_v1.pubkeys import ReqDeletePubkey, ReqNewSshKeys, ReqUpdatePubkey
from tms_ca.core.access import Action
from tms_ca.core.errors import Denied
from tms_ca.core.facts import LimitedBy
from tms_ca.core.keymode import key_type_and_bits
from tms_ca.core.model import PublicKeyRecord
from tms_ca.core.publickey import decode_base64
from tms_ca.core.times import LAST_SECOND
from tms_ca.core.tms_v1 import MOST_INT
from tms_ca.http.tms_v1.answers import NOT_FOUND, Refused, Said, date
from tms_ca.http.tms_v1.declare import DIFFERS, Call, D, K, Kind, P, v1
from tms_ca.http.tms_v1.dependencies import missing
from tms_ca.http.tms_v1.listing import listing
from tms_ca.http.tms_v1.names import require_account, require_host, require_user
from tms_ca.keypairs import KeyKind, OnePair
from tms_ca.services.keymode import KeyModeWish, KeyPlace
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.store.tms_v1 import Number

PAIR = web.RequestKey("key_pair", OnePair)


@v1("POST", "pubkeys/creds", needs=Action.PUBLIC_KEY_CREATE, kinds=(Kind.CLIENT,), order=K, body=ReqNewSshKeys(),
    status=201, unauthorised="Credential mismatch for client {client_id} in tenant {tenant}.",
    undisturbed=True)  # fmt: skip
async def create_pubkey(call: Call) -> Said:
    """Make a key pair, keep its public half for a user's account on a host, and hand out the private half once.

    A negative num_uses or ttl_minutes sets no bound. Each use of the key is decided anew.
    """
    body = call.body
    wish = KeyModeWish(
        user=require_user(body["client_user_id"], "client_user_id"),
        host=require_host(body["host"]),
        account=require_account(body["host_account"]),
        ttl_seconds=LAST_SECOND if body["ttl_minutes"] < 0 else body["ttl_minutes"] * 60,
        max_uses=None if body["num_uses"] < 0 else body["num_uses"],
    )
    if PAIR not in call.request:  # the handler may run again for the same request
        call.request[PAIR] = OnePair(_kind(body["key_type"]), lambda: call.request.transport is None)
    try:
        kept, pair = await call.context.key_mode.create(
            call.caller, wish, call.request[PAIR], provide=call.settings.mvp
        )  # fmt: skip
    except Denied as error:
        call.context.metrics.denied.labels("public-keys.create", error.code).inc()
        raise missing(call, error, body["host_account"]) from error
    uses = str(MOST_INT if kept.max_uses is None else kept.max_uses)
    return Said(
        {
            "private_key": pair.private_key,
            "public_key": pair.public_key,
            "public_key_fingerprint": kept.fingerprint,
            "key_type": str(pair.kind),
            "key_bits": str(pair.kind.bits),
            "max_uses": uses,
            "remaining_uses": uses,
            "expires_at": date(kept.expires_at),
        }
    )


def _kind(text: str | None) -> KeyKind:
    """Return what to make; the old server took everything that it did not know for Ed25519."""
    word = (text or "").lower()
    return KeyKind(word) if word in set(KeyKind) else KeyKind.ED25519


@v1("GET", "pubkeys/id/{seqno}", needs=Action.PUBLIC_KEY_READ, kinds=(Kind.CLIENT, Kind.ADMIN),
    unauthorised="to view pubkey #{seqno} in tenant {tenant}.")  # fmt: skip
async def get_pubkey(call: Call) -> Said:
    """Return one public key by its number: a client its own, an admin any of the tenant."""
    fingerprint = await call.context.numbers.name(call.tenant, NumberOf.KEY, call.path["seqno"])
    if fingerprint is None:
        raise Refused(404, NOT_FOUND, "public_key_unknown")
    found = await call.context.plain_keys.get(call.caller, "client_id", call.tenant, fingerprint)
    return Said(_members(found, Number(call.path["seqno"], None)))


@v1("GET", "pubkeys/list", needs=Action.PUBLIC_KEY_READ, kinds=(Kind.CLIENT, Kind.ADMIN),
    unauthorised="to list clients in tenant {tenant}.")  # fmt: skip
async def list_pubkeys(call: Call) -> Said:
    """Return every public key, by client_user_id, host and host_account: a client's own, an admin the tenant's."""
    found = await call.context.lists.keys(call.caller, call.tenant)
    return await listing(
        call, ("num_pubkeys", "pubkeys"), NumberOf.KEY, found, lambda one: one.fingerprint, _members
    )  # fmt: skip


def _members(key: PublicKeyRecord, number: Number) -> Mapping[str, object]:
    kind, bits = key_type_and_bits(key.key_type, decode_base64(key.public_key) or b"")
    return {
        "id": number.number,
        "tenant": key.tenant,
        "client_id": key.client_id,
        "client_user_id": key.user,
        "host": key.host,
        "host_account": key.account,
        "public_key_fingerprint": key.fingerprint,
        "public_key": f"{key.key_type} {key.public_key}",
        "key_type": kind,
        "key_bits": bits,
        "max_uses": MOST_INT if key.max_uses is None else key.max_uses,
        "remaining_uses": MOST_INT if key.uses_left is None else key.uses_left,
        "initial_ttl_minutes": _initial_minutes(key),
        "expires_at": date(key.expires_at),
        "created": date(key.created_at),
        "updated": date(key.updated_at),
    }


def _initial_minutes(key: PublicKeyRecord) -> int:
    """Return what was asked for; a wish for longer than 68 years is not told from one for ever."""
    if key.ttl_seconds is not None:
        return key.ttl_seconds // 60
    if key.limited_by == LimitedBy.DEFAULT:  # made through the other API, which was not told
        return max(0, key.expires_at - key.updated_at) // 60
    return MOST_INT


@v1("PATCH", "pubkeys", needs=Action.PUBLIC_KEY_CHANGE, kinds=(Kind.CLIENT, Kind.ADMIN), order=P,
    body=ReqUpdatePubkey(),
    unauthorised="ERROR NOT AUTHORIZED to update client {client_id} in tenant {tenant}.")  # fmt: skip
async def update_pubkey(call: Call) -> Said:
    """Set how many uses a key is for, and for how many minutes from now it lasts; what was used stays used."""
    body = call.body
    uses, minutes = body["max_uses"], body["ttl_minutes"]
    count = sum(value is not None for value in (uses, minutes))
    if not count:
        return Said({"fields_updated": 0}, "No updates specified")
    seconds = None
    if minutes is not None:
        seconds = LAST_SECOND if minutes >= MOST_INT else minutes * 60
    await call.context.key_mode.update(
        call.caller, _place(call), max_uses=None if uses is None else min(uses, MOST_INT), ttl_seconds=seconds
    )
    return Said({"fields_updated": count}, f"{count} update(s) to client {body['client_id']} completed")


@v1("DELETE", "pubkeys/del", needs=Action.PUBLIC_KEY_DELETE, kinds=(Kind.CLIENT, Kind.ADMIN), order=D,
    body=ReqDeletePubkey(), unauthorised="to delete public key {client_id} in tenant {tenant}.",
    forbidden=f"ERROR: NOT AUTHORIZED - {DIFFERS}")  # fmt: skip
async def delete_pubkey(call: Call) -> Said:
    """Take a public key back, with its reservations; it opens nothing from the next login on."""
    body = call.body
    fingerprint, host = body["public_key_fingerprint"], body["host"]
    if await call.context.key_mode.remove(call.caller, _place(call)):
        return Said({"num_deleted": 1}, f"Pubkey {fingerprint} for host {host} deleted")
    return Said(
        {"num_deleted": 0},
        f"Pubkey {fingerprint} NOT FOUND for host {host} and client {body['client_id']} - Nothing deleted",
    )


def _place(call: Call) -> KeyPlace:
    body = call.body
    return KeyPlace(call.tenant, body["client_id"], body["host"], body["public_key_fingerprint"])


ENDPOINTS = (create_pubkey, get_pubkey, list_pubkeys, update_pubkey, delete_pubkey)
