"""A real HTTP server that stands in for a service and answers what a test says."""

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    fields: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Said:
    """An answer; `fields` may say another date or length than the true one."""

    status: int
    body: bytes = b""
    fields: Mapping[str, str] | None = None


@contextmanager
def standing_in(answer: Callable[[Asked], Said], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Answer each request, in threads of its own; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            said = answer(Asked(self.command, self.path, self.headers, body))
            length = str(len(said.body))
            fields = {"Date": self.date_time_string(), "Content-Length": length, **(said.fields or {})}
            self.send_response_only(said.status)
            for name, value in fields.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said.body)
            self.close_connection = self.close_connection or fields["Content-Length"] != length

        do_POST = do_GET  # noqa: N815 - the name that http.server calls

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Let a client go away that does not like the certificate: that is the test."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
