"""Certificates: issue, read; and the question of a host at a login."""

from dataclasses import asdict
from typing import Any

from multidict import istr

from schemas.certificates import (
    CertificateQuery,
    CertificateShape,
    IssuedShape,
    IssueShape,
    LoginAnswerShape,
    LoginShape,
    issued_fields,
)
from tms_ca.core.access import Action, Role
from tms_ca.core.errors import Denied, TmsError
from tms_ca.core.facts import IssueRequest
from tms_ca.core.model import CertificateRecord
from tms_ca.http.answer import TEXT, Answer
from tms_ca.http.cursors import decode_cursor
from tms_ca.http.endpoint import Call, Page, Ready, endpoint
from tms_ca.http.later import Later
from tms_ca.services.issuance import Issued
from tms_ca.services.logins import LoginAnswer

_ACCEPT = istr("Accept")  # made once: a look-up by a plain word makes one
ANSWER_HEADER = "X-TMS-Answer"  # what a plain-text answer is bound to: nonce, account, fingerprint
_LIMITED = {"X-TMS-Uses": "limited"}  # such a yes is good for now only


def issue_at_once(call: Call[tuple[IssueRequest, str]]) -> Later | None:
    """Answer `issue_certificate` where the answer is yes, as soon as it is durable."""
    later = Later()

    def done(outcome: Issued | TmsError | None) -> None:
        if isinstance(outcome, Issued):
            call.context.metrics.issued.inc()
            later.answer(Ready(issued_fields(outcome.record, outcome.certificate)))
        elif outcome is None:
            later.give_up()
        else:
            later.fail(outcome)

    request, public_key = call.body
    return later if call.context.issuance.issue_at_once(call.caller, request, public_key, done) else None


@endpoint("POST", "certificates", needs=Action.CERTIFICATE_ISSUE, body=IssueShape(), returns=IssuedShape(), status=201,
          problems=(400, 409), hot=True, at_once=issue_at_once)  # fmt: skip
async def issue_certificate(call: Call[tuple[IssueRequest, str]]) -> Ready:
    """Issue a user certificate.

    The client made the key pair and sends the public key. The certificate lives no longer than everything it rests
    on: `limited_by` says what was the tightest. 403 carries the `code` of the rule that refused.
    """
    request, public_key = call.body
    metrics = call.context.metrics
    try:
        issued = await call.context.issuance.issue(call.caller, request, public_key)
    except Denied as error:
        metrics.denied.labels("certificates.issue", error.code).inc()
        raise
    metrics.issued.inc()
    return Ready(issued_fields(issued.record, issued.certificate))


@endpoint("GET", "certificates", needs=Action.CERTIFICATE_READ, query=CertificateQuery(), returns=CertificateShape())
async def list_certificates(call: Call[None]) -> Page:
    """List certificates, newest first.

    Clients and users see their own.
    """
    query = dict(call.query)
    limit, cursor = query.pop("limit"), query.pop("cursor")
    before = None if cursor is None else decode_cursor(cursor, [int])[0]
    own = own_column(call.caller.role)
    found, following = await call.context.records.certificates(call.caller, own, call.tenant, query, before, limit)
    return Page(found, None if following is None else [following])


@endpoint("GET", "certificates/{serial}", needs=Action.CERTIFICATE_READ, returns=CertificateShape(), problems=(404,))
async def get_certificate(call: Call[None]) -> CertificateRecord:
    """Return one certificate's record."""
    return await call.context.records.certificate(
        call.caller, own_column(call.caller.role), call.tenant, int(call.path["serial"])
    )


def check_login_at_once(call: Call[dict[str, Any]]) -> Any:
    """Answer `check_login` where the answer is yes and takes no waiting."""
    if call.path["host"] != call.caller.id:
        return None
    answer = call.context.logins.check_at_once(call.caller, call.body["account"], call.body["certificate"])
    return None if answer is None else _yes(call, answer)


@endpoint("POST", "hosts/{host}/principals", needs=Action.LOGIN_CHECK, body=LoginShape(), returns=LoginAnswerShape(),
          status=200, media=("application/json", "text/plain"), problems=(400,), hot=True,
          at_once=check_login_at_once)  # fmt: skip
async def check_login(call: Call[dict[str, Any]]) -> Any:
    """Ask whether a certificate opens an account on this host, now.

    sshd's AuthorizedPrincipalsCommand asks through the helper. Yes is 200 with the principals, or one a line for
    `Accept: text/plain`, each after its restrictions as sshd reads them; no is 403 with the `code` of the rule that
    refused. Nothing is counted or consumed. `X-TMS-Uses: limited`: the delegation is for a number of logins.
    """
    if call.path["host"] != call.caller.id:
        raise Denied("host_mismatch", "the credential belongs to another host than the one in the path")
    try:
        answer = await call.context.logins.check(call.caller, call.body["account"], call.body["certificate"])
    except Denied as error:
        call.context.metrics.denied.labels("logins.check", error.code).inc()
        raise
    return _yes(call, answer)


def _yes(call: Call[dict[str, Any]], answer: LoginAnswer) -> Any:
    call.context.metrics.logins.inc()
    if call.headers.get(_ACCEPT, "").startswith("text/plain"):
        bound = f"{call.body['nonce']} {answer.account} {answer.fingerprint}"
        before = f"{answer.options} " if answer.options else ""
        text = "".join([f"{before}{principal}\n" for principal in answer.principals])
        return Answer(200, text.encode(), TEXT, {ANSWER_HEADER: bound, **(_LIMITED if answer.limited else {})})
    return Ready({**asdict(answer), "serial": str(answer.serial)})


def own_column(role: Role) -> str:
    """Return the column that makes a certificate the caller's own."""
    return "client_id" if role is Role.CLIENT else "user"


ENDPOINTS = (issue_certificate, list_certificates, get_certificate, check_login)
