"""The real thing from outside: `tms-ca serve` as a process, a small blocking client, and people in it."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import pyotp

from tests import warm

PASSWORD = "correct horse battery staple"
START_SECONDS = 120


def basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


@dataclass(frozen=True)
class Answer:
    status: int
    json: dict
    body: bytes


@dataclass
class Service:
    """A service process on a data directory of its own; it can be killed and started again.

    `fresh`: by executing Python, where that is the point; otherwise forked from what has imported all of it (warm.py).
    """

    data: Path
    workers: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    fresh: bool = False
    url: str = ""
    operator: str = ""
    process: "subprocess.Popen[str] | warm.Warm | None" = None

    def tms_ca(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        words = [*arguments, "--data", str(self.data)]
        environment = {**os.environ, **self.environment}
        if self.fresh:
            command = [sys.executable, "-m", "tms_ca", *words]
            done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        else:
            done = warm.run(*words, environment=environment)
        if check:
            assert done.returncode == 0, done
        return done

    def init(self) -> None:
        made = json.loads(self.tms_ca("init", "--json").stdout)
        self.operator = basic(made["admin_id"], made["secret"])

    def start(self) -> None:
        words = ["serve", "--data", str(self.data), "--port", "0", "--workers", str(self.workers)]
        environment = {**os.environ, **self.environment}
        with open(self.data / "serve.log", "ab") as log:
            if self.fresh:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "tms_ca", *words], stdout=subprocess.PIPE, stderr=log, text=True,
                    env=environment, start_new_session=True,
                )  # fmt: skip
            else:
                self.process = warm.start(*words, environment=environment, log=log.fileno())
        line = self.process.stdout.readline()
        assert "http" in line, (self.data / "serve.log").read_text()[-2000:]
        self.url = line.split()[-1]
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(self.url + "/readyz", timeout=60).close()
            except OSError:
                assert time.monotonic() < until, "the service does not become ready"
                time.sleep(0.05)
            else:
                return

    def signal(self, number: int) -> None:
        """Send a signal to the service and all its workers."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """kill -9, all of it, at once."""
        self.signal(signal.SIGKILL)
        self._ended(60)

    def stop(self) -> int:
        """Stop it as at a terminal, where nobody waits for load balancers to notice; return the exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGINT)
        return self._ended(60)

    def end(self) -> int:
        """Stop it as a service manager does; return the exit code."""
        self.process.terminate()
        return self._ended(60)

    def _ended(self, seconds: float) -> int:
        process, self.process = self.process, None
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        finally:
            process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def call(self, method: str, path: str, auth: str | None = None, body: object = None) -> Answer:
        whole = path if path.startswith("/") else f"/api/v1/tenants/default/{path}"
        request = urllib.request.Request(self.url + whole, method=method)
        if auth is not None:
            request.add_header("Authorization", auth)
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                status, raw = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, raw = error.code, error.read()
        return Answer(status, json.loads(raw) if raw[:1] in b"{[" and raw else {}, raw)

    def good(self, method: str, path: str, auth: str | None = None, body: object = None) -> dict:
        answer = self.call(method, path, auth, body)
        assert answer.status < 300, (method, path, answer)
        return answer.json


@dataclass
class People:
    """A client, a host, a user with MFA, a link to the sshd's account and an approved delegation."""

    service: Service
    account: str
    client: str = ""
    host: str = ""
    session: str = ""
    seed: str = ""
    delegation: str = ""

    def furnish(self) -> None:
        s, operator = self.service, self.service.operator
        self.client = basic("portal", s.good("POST", "clients", operator, {"client_id": "portal"})["secret"])
        self.host = s.good("POST", "hosts", operator, {"host": "h1"})["secret"]
        s.good("POST", "users", operator, {"user": "alice", "password": PASSWORD})
        until = datetime.fromtimestamp(time.time() + 86400 * 30, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        link = {"user": "alice", "host": "h1", "account": self.account, "expires_at": until}
        s.good("POST", "account-links", operator, link)
        self.session = "Bearer " + s.good("POST", "sessions", None, {"user": "alice", "password": PASSWORD})["token"]
        self.seed = s.good("POST", "mfa/totp", self.session)["seed"]
        s.good("POST", "mfa/verify", self.session, {"code": pyotp.TOTP(self.seed).now()})
        self.delegate()

    def delegate(self) -> str:
        wish = {"user": "alice", "host": "h1", "account": self.account, "lifetime_seconds": 86400, "purpose": "test"}
        asked = self.service.good("POST", "delegations", self.client, wish)
        self.service.good("POST", f"delegations/{asked['id']}/approve", self.session, {})
        self.delegation = asked["id"]
        return self.delegation

    def body(self, public_key: str) -> dict:
        return {"user": "alice", "host": "h1", "account": self.account, "public_key": public_key}

    def issue(self, public_key: str) -> Answer:
        return self.service.call("POST", "certificates", self.client, self.body(public_key))
