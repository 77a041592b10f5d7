"""What was read of a database, for as long as nobody commits anything: sshd asks about each login twice at once."""

from collections.abc import Callable
from typing import Any

MOST_READ = 50_000  # answers; they share most of what they hold


class Snapshot:
    """Answers of the version that the database has now.

    `version` returns what is other after any commit of anyone than before it, or None where nothing cheap says so;
    then nothing is kept.
    """

    def __init__(self, version: Callable[[], bytes | None]) -> None:
        self._version_of = version
        self._read: dict[Any, Any] = {}
        self.version: bytes | None = None

    def get(self, key: Any, read: Callable[..., Any], *arguments: Any) -> Any:
        """Return what `read` returns for these arguments, and for `key`, on the database of now; None is not kept."""
        version = self._version_of()  # before it is read: a commit between the two is seen the next time
        if version is None or version != self.version or len(self._read) >= MOST_READ:
            self.version = version
            self._read.clear()
        found = self._read.get(key)
        if found is None:
            found = read(*arguments)
            if found is not None and version is not None:
                self._read[key] = found
        return found
