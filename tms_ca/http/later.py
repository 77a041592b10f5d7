"""An answer that is not there yet: everything is decided and done, and only the commit is waited for."""

from collections.abc import Callable
from typing import Any

from tms_ca.core.errors import TmsError

Deliver = Callable[[Any, TmsError | None], None]


class Later:
    """What an endpoint returns at once for an answer that comes soon; whoever gets it sets `deliver` at once."""

    __slots__ = ("deliver",)

    def __init__(self) -> None:
        self.deliver: Deliver | None = None

    def answer(self, result: Any) -> None:
        """Give what the endpoint would return."""
        self._deliver(result, None)

    def fail(self, error: TmsError) -> None:
        """Give what the endpoint would raise."""
        self._deliver(None, error)

    def give_up(self) -> None:
        """Say nothing: the endpoint itself must be asked."""
        self._deliver(None, None)

    def _deliver(self, result: Any, error: TmsError | None) -> None:
        if self.deliver is not None:
            self.deliver(result, error)
