"""Paths of the hot endpoints that were asked for before: the router tries a regular expression for each endpoint."""

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from tms_ca.http.endpoint import Endpoint

MOST_PATHS = 4096
_MOST_CHARACTERS = 256


class KnownPath(dict[str, str]):
    """What a path names; every name has been checked."""

    __slots__ = ("endpoint",)

    def __init__(self, endpoint: "Endpoint", names: dict[str, str]) -> None:
        super().__init__(names)
        self.endpoint = endpoint


class KnownPaths:
    """From the first line of a request to its endpoint; only paths that were answered once are there."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], KnownPath] = {}

    def find(self, method: str, raw_path: str) -> KnownPath | None:
        """Return what the path of a request names, or None where the router must say."""
        return self._known.get((method, raw_path))

    def learn(self, request: web.Request, endpoint: "Endpoint", names: "web.UrlMappingMatchInfo") -> None:
        """Remember what the router found."""
        if len(request.raw_path) <= _MOST_CHARACTERS:
            if len(self._known) >= MOST_PATHS:
                self._known.clear()
            self._known[request.method, request.raw_path] = KnownPath(endpoint, dict(names))
