"""The kinds of error that leave the core, and nothing about HTTP.

Each kind is raised with a stable `code` (a heading of docs/errors.md) and a `detail` sentence that is safe
for the caller to read: what was got, what was expected, what to do. Secrets never stand in a detail.

TmsError
├── Malformed         the bytes are not what the format says
├── Invalid           well-formed, but a value is not acceptable
├── Unauthenticated   who are you?
├── Denied            known, and not allowed
├── NotFound
├── Conflict          the state of the thing does not allow it
├── TooLarge
├── UnsupportedMedia  not the media type that is read
├── TooMany           slow down
└── Unavailable       our fault or our database's; try again
"""

from collections.abc import Mapping


class TmsError(Exception):
    """Base of every error that a caller may see."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        fields: Mapping[str, list[str]] | None = None,
        retry_after: int | None = None,
        extra: Mapping[str, str | int] | None = None,
        recorded: bool = False,
        alarm: str = "",
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.fields = fields
        self.retry_after = retry_after  # seconds
        self.extra = extra or {}
        self.recorded = recorded  # the refusal stands in the audit chain already
        self.alarm = alarm  # what the log must say as an error, and the caller need not know


class Malformed(TmsError):
    """The bytes are not what their format says."""


class Invalid(TmsError):
    """A value is well-formed but not acceptable."""


class Unauthenticated(TmsError):
    """No credential, or one that is not good."""


class Denied(TmsError):
    """The caller is known and may not do this."""


class NotFound(TmsError):
    """There is no such thing that the caller may see."""


class Conflict(TmsError):
    """The present state of the thing does not allow this."""


class TooLarge(TmsError):
    """The request is larger than the service reads."""


class UnsupportedMedia(TmsError):
    """The body is not of the media type that the service reads."""


class TooMany(TmsError):
    """Too many tries; `retry_after` says when the next may succeed."""


class Unavailable(TmsError):
    """The service cannot answer now; nothing was handed out."""
