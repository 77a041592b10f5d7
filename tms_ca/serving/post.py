"""What a process is told at its start, and the orders between the supervisor and its processes afterwards."""

import json
import os
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self

POST = "TMS_CA_POST"


class Role(StrEnum):
    """What a process is there for."""

    ALONE = "alone"  # serves without a supervisor
    WORKER = "worker"
    WRITER = "writer"


class Order(StrEnum):
    """What the supervisor wants; the end of the line means STOP, for then the supervisor is dead."""

    STOP = "s"  # the service ends: say so in /readyz, then finish
    NOW = "n"  # the service ends, and somebody waits at the terminal
    RETIRE = "r"  # others have taken over: finish


RETIRED_END_SECONDS = 25.0  # after RETIRE, whatever hangs
READY = b"+"  # from a process: it answers
BEAT = b"."  # from a process: it is alive


@dataclass(frozen=True, slots=True)
class Post:
    """Where a process stands: descriptors that it has inherited, files in the run directory."""

    role: Role
    listener: int
    control: int = -1
    writer: str = ""  # the writer's socket; empty: this process writes by itself
    shares: str = ""
    slot: int = 0

    def environment(self) -> dict[str, str]:
        """Return the variable that carries this post."""
        return {POST: json.dumps(asdict(self))}

    @classmethod
    def of_this_process(cls) -> Self | None:
        """Return the post that this process was started for, if any."""
        text = os.environ.pop(POST, None)
        if text is None:
            return None
        fields = json.loads(text)
        return cls(**{**fields, "role": Role(fields["role"])})


class Leash:
    """A process's end of the line to its supervisor."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self.socket.setblocking(False)

    def tell(self, word: bytes) -> None:
        """Send READY or BEAT."""
        try:
            self.socket.send(word)
        except OSError:
            return  # a supervisor that is dead or busy; its orders say what follows

    def hear(self, obey: Callable[[Order], None]) -> bool:
        """Pass on what has arrived; False when nothing will come any more."""
        try:
            words = self.socket.recv(64)
        except BlockingIOError:
            return True
        except OSError:
            words = b""
        for word in words.decode():
            obey(Order(word))
        if not words:
            obey(Order.STOP)
        return bool(words)
