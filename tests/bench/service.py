"""A real `tms-ca serve`, pinned to a core, with a world in it."""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pyotp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PASSWORD = "correct horse battery staple"


def public_keys(count: int) -> list[str]:
    """Return fresh keys: a key for each session is what clients do, and no cache of ours helps."""
    made = (Ed25519PrivateKey.generate().public_key() for _ in range(count))
    return [key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() for key in made]


@contextmanager
def started(command: list[str], cpu: int, environment: dict[str, str] | None = None):
    """Run a server that prints its address; yield the address and the process."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            ["taskset", "-c", str(cpu), *command], stdout=subprocess.PIPE, stderr=log, text=True,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
        try:
            line = process.stdout.readline()
            if "http" not in line:
                log.seek(0)
                raise RuntimeError(f"{command} did not start: {log.read().decode()}")
            yield line.strip().split()[-1], process
        finally:
            process.terminate()
            process.wait(20)
            process.stdout.close()


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


def furnish(base: str, operator: str) -> tuple[Api, str, str]:
    """Make a client, a host, a user with MFA, a link and a delegation; return the API and both credentials."""
    api = Api(base)
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
    return api, client, host


@contextmanager
def service(cpu: int, *, workers: int = 1):
    """Yield (address, operator's credential) of a service on a fresh SQLite database."""
    with tempfile.TemporaryDirectory(prefix="tms-bench-") as directory:
        data = Path(directory) / "data"
        tms_ca = [sys.executable, "-m", "tms_ca"]
        made = json.loads(
            subprocess.run([*tms_ca, "init", "--data", data, "--json"], check=True, capture_output=True).stdout
        )
        with started([*tms_ca, "serve", "--data", str(data), "--port", "0", "--workers", str(workers)], cpu) as (
            base,
            _,
        ):
            yield base, basic(made["admin_id"], made["secret"])
