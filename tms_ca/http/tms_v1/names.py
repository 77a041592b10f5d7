"""Names as TMS clients send them: any text there, ours only within our grammars."""

from collections.abc import Iterator
from contextlib import contextmanager

from marshmallow import ValidationError, fields

from schemas.base import account_field, client_field, host_field, tenant_field, text_field, user_field
from tms_ca.core.errors import NotFound
from tms_ca.http.tms_v1.answers import Refused

_CLIENT, _USER, _HOST, _ACCOUNT, _TENANT = (
    client_field(), user_field(), host_field(), account_field(), tenant_field()
)  # fmt: skip


def require_client(text: str, member: str = "client_id") -> str:
    """Return `text` where it may name a client; `member` is what the body calls it.

    Raises:
        Refused: it may not; the text says what was got and what was expected

    """
    return _required(_CLIENT, text, member)


def require_user(text: str, member: str = "tms_user_id") -> str:
    """Return `text` where it may name a user; see `require_client`."""
    return _required(_USER, text, member)


def require_host(text: str, member: str = "host") -> str:
    """Return `text` where it may name a host; see `require_client`."""
    return _required(_HOST, text, member)


def require_account(text: str, member: str = "host_account") -> str:
    """Return `text` where it may name an account; see `require_client`."""
    return _required(_ACCOUNT, text, member)


def require_tenant(text: str, member: str = "tenant") -> str:
    """Return `text` where it may name a tenant; see `require_client`."""
    return _required(_TENANT, text, member)


def require_text(text: str, member: str, most: int) -> str:
    """Return `text` where it is a line of up to `most` characters; see `require_client`."""
    if len(text) > most:
        raise Refused(400, f"ERROR: {member}: expected at most {most} characters, got {len(text)}", "bad_name")
    return _required(text_field(most), text, member)


def _required(field: fields.String, text: str, member: str) -> str:
    try:
        field.deserialize(text)
    except ValidationError as error:
        raise Refused(400, f"ERROR: {member}: {error.messages[0]}", "bad_name") from error
    return text


@contextmanager
def referring() -> Iterator[None]:
    """Refuse with 400 what names a thing that is not there: to the wire API, 404 is the thing asked for itself.

    Raises:
        Refused: in the place of NotFound

    """
    try:
        yield
    except NotFound as error:
        raise Refused(400, f"ERROR: {error.detail}", error.code) from error
