"""What stands for an answer that has been sent."""

from aiohttp import web


class _Sent(web.StreamResponse):
    """Stands for an answer that has been sent."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keep_alive = keep_alive


KEPT, ENDED = _Sent(keep_alive=True), _Sent(keep_alive=False)
