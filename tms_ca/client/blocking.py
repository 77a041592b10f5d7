"""Carry calls over HTTP and wait for the answers; a kept connection, verified TLS, limits on all that comes in."""

import base64
import http.client
import ipaddress
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote, urlsplit

from tms_ca import __version__
from tms_ca.client.failures import NotUnderstood, Unreachable, Usage
from tms_ca.client.protocol import Answer, Call

T = TypeVar("T")
TIMEOUT_SECONDS = 20.0
MOST_ANSWER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Basic:
    """A client's credential."""

    client_id: str
    secret: str

    def header(self) -> str:
        """Return the value of Authorization (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.client_id}:{self.secret}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Bearer:
    """A session's token."""

    token: str

    def header(self) -> str:
        """Return the value of Authorization (RFC 6750)."""
        return f"Bearer {self.token}"


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine and nobody else."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Service:
    """One tenant of one service, on one connection."""

    def __init__(
        self, url: str, tenant: str, credential: Basic | Bearer | None = None, ca_file: Path | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:  # fmt: skip
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise Usage(f"the service's address is {url!r}: {error}") from error
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise Usage(f"the service's address is {url!r}; expected https://NAME[:PORT]")
        self.url = url
        self._prefix = f"{parts.path.rstrip('/')}/api/v1/tenants/{quote(tenant, safe='')}/"
        self._headers = {"Accept": "application/json", "User-Agent": f"tms/{__version__}"}
        if credential is not None:
            self._headers["Authorization"] = credential.header()
        if parts.scheme == "https":
            self._connection = http.client.HTTPSConnection(
                parts.hostname, port, timeout=timeout, context=_tls(ca_file)
            )  # fmt: skip
        elif is_loopback(parts.hostname):
            self._connection = http.client.HTTPConnection(parts.hostname, port, timeout=timeout)  # type: ignore[assignment] # the class of both
        else:
            # A secret would cross the network in the clear.
            raise Usage(f"the service's address is {url!r}, plain http to another machine; expected https://")

    def __enter__(self) -> Self:
        """Begin to use the connection."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the connection."""
        self._connection.close()

    def run(self, call: Call[T]) -> T:
        """Send the request and return what its answer means.

        Raises:
            Unreachable: no answer came
            Failure: what the answer means, see protocol

        """
        request = call.request
        headers = dict(self._headers)
        body = None
        if request.body is not None:
            body = json.dumps(request.body).encode()
            headers["Content-Type"] = "application/json"
        try:
            self._connection.request(request.method, self._prefix + request.path, body, headers)
            with self._connection.getresponse() as response:
                content = response.read(MOST_ANSWER_BYTES + 1)
                names = {name.lower(): value for name, value in response.getheaders()}
                answer = Answer(response.status, names, content)
        except ssl.SSLCertVerificationError as error:
            self._connection.close()
            raise Unreachable(
                f"{self.url} is not trusted: {error.verify_message}; name the CA's certificates with --ca-file"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            text = str(error) or type(error).__name__
            raise Unreachable(f"no answer from {self.url}: {text}; is the address right and the service up?") from error
        if len(content) > MOST_ANSWER_BYTES:
            self._connection.close()
            raise NotUnderstood(f"{self.url} answered with more than {MOST_ANSWER_BYTES} bytes")
        return call.read(answer)


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise Usage(f"cannot use the CA certificates in {ca_file}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
