"""A real `tms-ca serve` with a world in it: a client, a host, a user with MFA, a link and a delegation."""

import asyncio
import base64
import functools
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyotp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.bench.client import ask_all
from tests.bench.load import Load
from tests.bench.processes import Server, started

PASSWORD = "correct horse battery staple"
JSON = {"Content-Type": "application/json"}


@functools.cache
def public_keys(count: int) -> tuple[str, ...]:
    """Return fresh keys: a key for each session is what clients do, and nothing kept about a key helps."""
    made = (Ed25519PrivateKey.generate().public_key() for _ in range(count))
    return tuple(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() for key in made)


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


class Api:
    """Just enough of a client."""

    def __init__(self, base: str) -> None:
        self.base = f"{base}/api/v1/tenants/default/"

    def call(self, method: str, path: str, authorization: str | None, body: object = None) -> dict:
        request = urllib.request.Request(self.base + path, method=method)
        if authorization:
            request.add_header("Authorization", authorization)
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def furnish(api: Api, operator: str) -> tuple[str, str]:
    """Make what a certificate needs; return the credentials of the client and of the host."""
    client = basic("portal", api.call("POST", "clients", operator, {"client_id": "portal"})["secret"])
    host = "Bearer " + api.call("POST", "hosts", operator, {"host": "h1"})["secret"]
    api.call("POST", "users", operator, {"user": "alice", "password": PASSWORD})
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 30 * 86400))
    link = {"user": "alice", "host": "h1", "account": "alice", "expires_at": until}
    api.call("POST", "account-links", operator, link)
    session = "Bearer " + api.call("POST", "sessions", None, {"user": "alice", "password": PASSWORD})["token"]
    seed = api.call("POST", "mfa/totp", session)["seed"]
    api.call("POST", "mfa/verify", session, {"code": pyotp.TOTP(seed).now()})
    wish = {"user": "alice", "host": "h1", "account": "alice", "lifetime_seconds": 86400, "purpose": "bench"}
    asked = api.call("POST", "delegations", client, wish)
    api.call("POST", f"delegations/{asked['id']}/approve", session, {})
    return client, host


@dataclass(frozen=True)
class Service:
    """Our service, and what to ask it."""

    server: Server
    api: Api
    operator: str
    client: str
    host: str
    directory: Path  # where the files of bodies go

    def certificates(self, keys: int) -> Load:
        """Return requests for certificates, each for another key."""
        wish = {"user": "alice", "host": "h1", "account": "alice"}
        bodies = [json.dumps({**wish, "public_key": key}) for key in public_keys(keys)]
        return self.asking(bodies, self.client, "certificates")

    def asking(self, bodies: list[str], client: str, name: str) -> Load:
        """Return requests for certificates with these bodies and this client's credential."""
        file = written(self.directory / name, bodies)
        return Load(f"{self.api.base}certificates", {**JSON, "Authorization": client}, file)

    def logins(self, keys: int) -> Load:
        """Issue a certificate for each key; return the questions of a host about them."""
        load = self.certificates(keys)
        answers = asyncio.run(ask_all(load.url, load.headers, load.bodies.read_text().splitlines()))
        bodies = [json.dumps({"account": "alice", "certificate": json.loads(a)["certificate"]}) for a in answers]
        file = written(self.directory / "logins", [f'{body[:-1]}, "nonce": "' for body in bodies])
        headers = {**JSON, "Authorization": self.host, "Accept": "text/plain"}
        load = Load(f"{self.api.base}hosts/h1/principals", headers, file, login=True)
        (said,) = asyncio.run(ask_all(load.url, headers, bodies[:1]))
        if not said.startswith(b"alice"):
            raise RuntimeError(f"a login check answered {said[:80]!r}; expected alice's principal")
        return load


@contextmanager
def service(
    directory: Path,
    *,
    cpu: str | None,
    workers: int = 1,
    database_url: str = "",
    fill: Callable[[str, Path], None] = lambda _, __: None,
) -> Iterator[Service]:
    """Run the service in `directory`, on SQLite unless `database_url` says otherwise, with its default settings.

    `fill` gets the URL of the new database and the master key's path before the service starts.
    """
    directory.mkdir(parents=True)
    data = directory / "data"
    tms_ca = [sys.executable, "-m", "tms_ca"]
    environment = {"TMS_CA_DATABASE_URL": database_url or f"sqlite:///{data / 'tms.db'}"}
    init = subprocess.run(
        ["env", *(f"{k}={v}" for k, v in environment.items()), *tms_ca, "init", "--data", data, "--json"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if init.returncode:
        raise RuntimeError(f"tms-ca init failed: {init.stderr[-1000:]}")
    made = json.loads(init.stdout)
    fill(environment["TMS_CA_DATABASE_URL"], data / "master.key")
    command = [*tms_ca, "serve", "--data", str(data), "--port", "0", "--workers", str(workers)]
    with started(command, cpu=cpu, environment=environment) as server:
        api, operator = Api(server.address), basic(made["admin_id"], made["secret"])
        client, host = furnish(api, operator)
        yield Service(server, api, operator, client, host, directory)
