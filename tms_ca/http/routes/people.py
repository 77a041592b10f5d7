"""Sessions, passwords and the second factor of users."""

from dataclasses import replace
from typing import Any

from schemas.operations import CodeShape, MfaShape, PasswordChange, SessionCreate, SessionShape, TotpShape
from tms_ca.core.access import Action, Role
from tms_ca.http.endpoint import Call, endpoint
from tms_ca.services.ids import secret_digest
from tms_ca.services.people import MfaStatus


@endpoint("POST", "sessions", needs=Action.PUBLIC, body=SessionCreate(), returns=SessionShape(), status=201,
          problems=(400, 401, 429))  # fmt: skip
async def create_session(call: Call[dict[str, Any]]) -> dict[str, Any]:
    """Log in as a user.

    With `totp`, the session also opens the MFA window. The token goes into `Authorization: Bearer`.
    """
    people = call.context.people
    token, session = await people.log_in(call.caller, call.tenant, call.body["user"], call.body["password"])
    mfa_expires_at = None
    if call.body["totp"] is not None:
        user = replace(call.caller, role=Role.USER, tenant=call.tenant, id=session.user, session=secret_digest(token))
        try:
            mfa_expires_at = (await people.verify_totp(user, call.body["totp"])).expires_at
        except BaseException:
            await people.log_out(user)  # nobody learns the token of a half-made login
            raise
    return {"token": token, "user": session.user, "expires_at": session.expires_at, "mfa_expires_at": mfa_expires_at}


@endpoint("DELETE", "sessions/current", needs=Action.SESSION_END)
async def end_session(call: Call[None]) -> None:
    """Log out."""
    await call.context.people.log_out(call.caller)


@endpoint("POST", "password", needs=Action.PASSWORD_CHANGE, body=PasswordChange(), problems=(400, 401, 429))
async def change_password(call: Call[dict[str, Any]]) -> None:
    """Change your password; your other sessions end."""
    await call.context.people.change_password(call.caller, call.body["current_password"], call.body["new_password"])


@endpoint("GET", "mfa", needs=Action.MFA_READ, returns=MfaShape())
async def get_mfa(call: Call[None]) -> MfaStatus:
    """Tell where you stand with the second factor."""
    return await call.context.people.mfa_status(call.tenant, call.caller.id)


@endpoint("POST", "mfa/totp", needs=Action.MFA_ENROL, returns=TotpShape(), status=201, problems=(409,))
async def enrol_totp(call: Call[None]) -> dict[str, str]:
    """Make a TOTP seed, shown once; it counts once a code of it was verified.

    Replacing a confirmed factor needs the present one: be MFA-current.
    """
    seed, uri = await call.context.people.enrol_totp(call.caller, call.tenant)
    return {"seed": seed, "otpauth_uri": uri}


@endpoint("POST", "mfa/verify", needs=Action.MFA_VERIFY, body=CodeShape(), returns=MfaShape(),
          problems=(400, 401, 404, 429))  # fmt: skip
async def verify_mfa(call: Call[dict[str, Any]]) -> MfaStatus:
    """Prove the second factor: your MFA window begins now. A code works once."""
    return await call.context.people.verify_totp(call.caller, call.body["code"])


ENDPOINTS = (create_session, end_session, change_password, get_mfa, enrol_totp, verify_mfa)
