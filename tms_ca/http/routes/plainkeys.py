"""Plain keys: escrowed by clients, found by hosts at a login."""

from typing import Any

from schemas.plainkeys import KeyLogin, PublicKeyCreate, PublicKeyQuery, PublicKeyShape
from tms_ca.core.access import Action
from tms_ca.core.errors import Denied
from tms_ca.core.facts import IssueRequest
from tms_ca.core.model import PublicKeyRecord
from tms_ca.http.answer import TEXT, Answer
from tms_ca.http.endpoint import Call, Page, endpoint
from tms_ca.http.routes.certificates import ANSWER_HEADER, own_column
from tms_ca.http.routes.lists import asked
from tms_ca.services.plainkeys import KeyWish


@endpoint("POST", "public-keys", needs=Action.PUBLIC_KEY_CREATE, body=PublicKeyCreate(), returns=PublicKeyShape(),
          status=201, problems=(400, 409), undisturbed=True)  # fmt: skip
async def create_public_key(call: Call[tuple[IssueRequest, str, int | None]]) -> PublicKeyRecord:
    """Escrow a public key, for a host or client that cannot use certificates.

    The rules are those of `POST certificates`: the key opens one account on one host, for no longer than everything
    it rests on. `limited_by` says what was the tightest. The same key for the same place again begins anew.
    """
    request, public_key, max_uses = call.body
    try:
        return await call.context.plain_keys.escrow(call.caller, request, KeyWish(public_key, max_uses))
    except Denied as error:
        call.context.metrics.denied.labels("public-keys.create", error.code).inc()
        raise


@endpoint("GET", "public-keys", needs=Action.PUBLIC_KEY_READ, query=PublicKeyQuery(), returns=PublicKeyShape())
async def list_public_keys(call: Call[None]) -> Page:
    """List escrowed public keys, by fingerprint.

    Clients and users see their own.
    """
    query, after, limit = asked(call)
    own = own_column(call.caller.role)
    return Page(*await call.context.plain_keys.page(call.caller, own, call.tenant, query, after, limit))


@endpoint("GET", "public-keys/{fingerprint}", needs=Action.PUBLIC_KEY_READ, returns=PublicKeyShape(),
          problems=(404,))  # fmt: skip
async def get_public_key(call: Call[None]) -> PublicKeyRecord:
    """Return one escrowed public key."""
    own = own_column(call.caller.role)
    return await call.context.plain_keys.get(call.caller, own, call.tenant, call.path["fingerprint"])


@endpoint("DELETE", "public-keys/{fingerprint}", needs=Action.PUBLIC_KEY_DELETE, problems=(404,))
async def delete_public_key(call: Call[None]) -> None:
    """Take a public key back; it opens nothing from the next login on.

    It can be escrowed again. A key that leaked is revoked instead, by `public_key_fingerprint`: that is for good.
    """
    own = own_column(call.caller.role)
    await call.context.plain_keys.remove(call.caller, own, call.tenant, call.path["fingerprint"])


@endpoint("POST", "hosts/{host}/keys", needs=Action.LOGIN_CHECK, body=KeyLogin(), media=("text/plain",), status=200,
          problems=(400,), hot=True)  # fmt: skip
async def check_key(call: Call[dict[str, Any]]) -> Answer:
    """Ask which line opens an account on this host to a plain key, now.

    sshd's AuthorizedKeysCommand asks through its helper, with what sshd says of the key that it was offered. Yes is
    an authorized_keys line that begins with `restrict`, for this very key; no is 403 with the `code` of the rule that
    refused. A host that sends `reports_logins` tells of each login to `POST logins`, where its use is taken, and must
    not open a session without the yes. `X-TMS-Answer` binds the answer to nonce, account and fingerprint.
    """
    if call.path["host"] != call.caller.id:
        raise Denied("host_mismatch", "the credential belongs to another host than the one in the path")
    body = call.body
    try:
        grant = await call.context.plain_keys.check(
            call.caller,
            body["account"],
            body["fingerprint"],
            body["key_type"],
            reports_logins=body["reports_logins"],
        )
    except Denied as error:
        call.context.metrics.denied.labels("logins.key", error.code).inc()
        raise
    bound = f"{body['nonce']} {body['account']} {body['fingerprint']}"
    return Answer(200, f"{grant.line}\n".encode(), TEXT, {ANSWER_HEADER: bound})


ENDPOINTS = (create_public_key, list_public_keys, get_public_key, delete_public_key, check_key)
