"""A service that lies: a real socket that answers the helper's question in whatever way a test wants."""

import base64
import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from deploy.sandbox_sshd import free_port


@dataclass
class Question:
    """What the helper asked."""

    head: str
    body: dict
    socket: socket.socket

    @property
    def bound(self) -> str:
        """The header's value that a true answer has."""
        blob = base64.b64decode(self.body["certificate"].split()[1])
        digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
        return f"{self.body['nonce']} {self.body['account']} SHA256:{digest}"


def answer(
    body: bytes = b"alice@h1\n", *, status: str = "200 OK", bound: str | None = None, kind: str = "text/plain; charset=utf-8",
    extra: str = "", length: int | None = None,
) -> bytes:  # fmt: skip
    """Return the bytes of an HTTP answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{extra}"
    if bound is not None:
        head += f"X-TMS-Answer: {bound}\r\n"
    if length != -1:
        head += f"Content-Length: {len(body) if length is None else length}\r\n"
    return head.encode() + b"\r\n" + body


def gone() -> bytes:
    """Say that whoever asked has gone in the middle of it: else it would be read for ever."""
    raise ConnectionResetError


Reply = Callable[[Question], bytes | None]


@dataclass
class Liar:
    """Answers each connection in a thread; `reply` returns what to send, or None after having done it itself."""

    reply: Reply
    tls: ssl.SSLContext | None = None
    questions: list[Question] = field(default_factory=list)

    def __enter__(self):
        return self.open(0)

    def open(self, port: int) -> "Liar":
        """Begin to answer; port 0 takes a free one, which stays free while it is closed."""
        self._listener = socket.create_server(("127.0.0.1", port or free_port()), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(60)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self._serve(connection)
                except (OSError, ValueError, ssl.SSLError):
                    continue

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(60)
        if self.tls is None:
            self._answer(connection)
            return
        with self.tls.wrap_socket(connection, server_side=True) as secure:
            self._answer(secure)
            secure.unwrap()

    def _answer(self, connection: socket.socket) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536) or b"\r\n\r\n"
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(
            next((line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
        )
        while len(body) < length:
            body += connection.recv(65536) or gone()
        question = Question(head.decode(), json.loads(body), connection)
        self.questions.append(question)
        said = self.reply(question)
        if said is not None:
            connection.sendall(said)
