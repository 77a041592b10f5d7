"""Memory of a crowd that has left: what is free is given back to the system.

Python gives memory back by the MiB, and only one in which nothing is alive. Some types keep objects that nobody needs
any more, to use them again: those that were let go first, from all over the memory that a crowd took. 1,000 such
objects of 100 bytes held 35 MiB. So those are exchanged for others that were made when the process was small.
"""

import asyncio
import contextvars
import ctypes
import gc
import socket
import time
from collections.abc import Callable, Coroutine
from typing import cast

from aiohttp import HttpVersion11
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

_MOVE_SECONDS = 1.5  # what is made again each second
_REST = 100  # times what it took: a hundredth of the time goes there, however often a crowd comes and goes
_PAUSE_SECONDS = 0.1  # a timer that was cancelled is let go in the turn of the loop after that


class Spare:
    """Objects to be kept for those that a crowd has left; to be made when the process is small."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.monotonic) -> None:
        self._loop = loop
        self._clock = clock
        self._not_before = clock()
        self._types = _types(loop) if type(loop).__module__.startswith("uvloop") else ()
        self._objects = self._take()
        self._begun = False

    def give_back(self) -> bool:
        """Give memory that is free back to the system, soon; False where it is too soon after the last time.

        It stops the loop three times, the longer the more is remembered: 0.1 s each for a million objects.
        """
        if self._begun or self._clock() < self._not_before:
            return False
        self._begun = True
        self._loop.call_later(_PAUSE_SECONDS, self._exchange, self._take())
        return True

    def stop(self) -> None:
        """Let go of everything."""
        self._types = ()  # what was begun makes nothing more
        _let_go(self._objects)

    def _take(self) -> list[object]:
        """Return what the types keep, and new objects where they keep fewer."""
        return [make() for most, make in self._types for _ in range(most)]

    def _exchange(self, kept: list[object]) -> None:
        begun = self._clock()
        _let_go(self._objects)  # the types keep what they get first
        _let_go(kept)
        _give_back()
        took = self._clock() - begun
        self._not_before = begun + 2 * took * _REST  # what comes later takes as long again
        self._loop.call_later(_MOVE_SECONDS, self._take_again)

    def _take_again(self) -> None:
        _give_back()  # what the last of the crowd left
        self._objects = self._take()
        self._begun = False


def _types(loop: asyncio.AbstractEventLoop) -> tuple[tuple[int, Callable[[], object]], ...]:
    """Return how many of which type are kept, and how to make one: Cython's `freelist`, or constants in C sources."""
    context = contextvars.Context()
    headers = CIMultiDictProxy(CIMultiDict[str]())
    url = URL()
    no_socket = cast("socket.socket", None)  # nothing is begun with it

    def timer() -> object:
        handle = loop.call_later(1.0, _nothing, context=context)
        handle.cancel()
        return handle

    return (
        (250, lambda: loop.call_soon(_nothing, context=context)),
        (250, timer),
        (8, lambda: loop.connect_accepted_socket(asyncio.Protocol, no_socket)),
        (250, lambda: RawRequestMessage("", "", HttpVersion11, headers, (), False, None, False, False, url)),
        (32, lambda: CIMultiDictProxy(CIMultiDict([("", "")]))),
        (255, loop.create_future().__await__),
    )


def _let_go(objects: list[object]) -> None:
    for one in objects:
        if isinstance(one, Coroutine):
            one.close()
    objects.clear()


def _give_back() -> None:
    gc.collect()  # Python's own types forget what they keep
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl gives back by itself
    if trim is not None:
        trim(0)


def _nothing() -> None:
    pass
