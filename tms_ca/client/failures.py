"""What can go wrong for `tms`, each kind with the exit code of the command."""


class Failure(Exception):
    """The command did not do what it was asked to."""

    exit_code = 1


class Refused(Failure):
    """The service said no; `code` is the stable word of docs/errors.md."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{detail} ({code})")
        self.status = status
        self.code = code


class TryAgain(Refused):
    """The service said not now; `retry_after` is in seconds."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h

    def __init__(self, status: int, code: str, detail: str, retry_after: int | None) -> None:
        super().__init__(status, code, detail)
        self.retry_after = retry_after


class Unreachable(Failure):
    """No answer came."""

    exit_code = 75


class NotUnderstood(Failure):
    """An answer came, but not from a service of this kind."""


class Usage(Failure):
    """The command line or the configuration is not usable."""

    exit_code = 2
