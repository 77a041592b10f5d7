"""Two replicas behind a real proxy, each restarted in its turn: nobody gets an error, and nothing is forgotten."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyotp
import pytest

from deploy.sandbox_sshd import free_port
from tests.serve.load import fifty_a_second, nothing_is_lost
from tests.serve.proxies import Proxy
from tests.ssh.conftest import new_key
from tests.ssh.service import PASSWORD, People, Service

SECONDS = float(os.environ.get("TMS_CA_RESTART_SECONDS", "0"))  # make restarts: 60
ASIDE_SECONDS = 2.5  # nginx leaves a replica alone for two seconds after it did not answer


class Replica(Service):
    """A service that comes back at the port that it had."""

    def again(self) -> None:
        port = self.url.rpartition(":")[2]
        command = [sys.executable, "-m", "tms_ca", "serve", "--data", str(self.data), "--port", port]
        with open(self.data / "serve.log", "ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **self.environment}
            )
        assert self.process.stdout.readline(), (self.data / "serve.log").read_text()[-2000:]
        self.wait_until_ready()


@pytest.fixture
def replicas(postgres_url, tmp_path) -> Iterator[list[Replica]]:
    """Return two replicas on one database, each with its own directory and the same master key and settings."""
    environment = {"TMS_CA_DATABASE_URL": postgres_url}
    first, second = (Replica(tmp_path / name, environment=environment) for name in ("one", "two"))
    first.init()
    settings, trusted = first.data / "settings.toml", "# trusted_proxies = []"
    text = settings.read_text()
    assert trusted in text
    settings.write_text(text.replace(trusted, 'trusted_proxies = ["127.0.0.1/32"]\n' + trusted))
    second.data.mkdir(mode=0o700)
    for name in ("settings.toml", "master.key"):
        (second.data / name).write_bytes((first.data / name).read_bytes())
        (second.data / name).chmod(0o600)
    second.operator = first.operator
    with first, second:
        first.start()
        second.start()
        yield [first, second]


@contextmanager
def front_of(kind: str, replicas: list[Replica], at: Path) -> Iterator[Service]:
    """Yield what asks `replicas` through a proxy."""
    ports = [int(one.url.rpartition(":")[2]) for one in replicas]
    with Proxy(kind, at / kind, free_port(), ports) as proxy:
        front = Service(replicas[0].data, url=f"http://127.0.0.1:{proxy.port}", operator=replicas[0].operator)
        front.wait_until_ready()
        yield front


def locked_out(front: Service) -> None:
    """Guess at bob's password until no more guesses are taken."""
    front.good("POST", "users", front.operator, {"user": "bob", "password": PASSWORD})
    for _ in range(10):
        if front.call("POST", "sessions", None, {"user": "bob", "password": "wrong"}).status == 429:
            return
    raise AssertionError("ten wrong passwords were looked at")


@pytest.mark.skipif(not SECONDS, reason="two rolling restarts take longer: make restarts")
@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_E_08_two_replicas_behind_a_proxy_are_restarted_without_a_failed_request(replicas, kind, tmp_path):
    with front_of(kind, replicas, tmp_path) as front:
        people = People(front, "alice")
        people.furnish()
        key, rounds, begun = new_key(tmp_path, "id").public, 0, time.monotonic()
        with fifty_a_second(people, key) as load:
            while rounds == 0 or time.monotonic() - begun < SECONDS:
                for one in replicas:
                    before = sum(load.answers.values())
                    assert one.end() == 0
                    assert sum(load.answers.values()) > before, "the other one answers meanwhile"
                    one.again()
                    time.sleep(ASIDE_SECONDS)
                rounds += 1
        assert load.faults == []
        assert set(load.answers) == {200, 201}
        nothing_is_lost(replicas[0], load.received)
        locked_out(front)
        code = pyotp.TOTP(people.seed).at(time.time() + 30)
        assert front.call("POST", "mfa/verify", people.session, {"code": code}).status < 300
        for one in replicas:
            assert one.end() == 0
            one.again()
            time.sleep(ASIDE_SECONDS)
        # What was known is known to processes that have been started since: a lock-out, a code that was used, a session.
        assert front.call("POST", "sessions", None, {"user": "bob", "password": PASSWORD}).status == 429
        assert front.call("POST", "sessions", None, {"user": "alice", "password": PASSWORD}).status == 201
        again = front.call("POST", "mfa/verify", people.session, {"code": code})
        assert (again.status, again.json["code"]) == (401, "mfa_failed")
        assert front.call("GET", "mfa", people.session).status == 200
    print(f"{kind}: {rounds} rounds, {sum(load.answers.values())} answers, 0 failed")


def test_E_08_nobody_behind_a_proxy_misses_a_replica_that_stops(replicas, tmp_path):
    with front_of("nginx", replicas, tmp_path) as front, front_of("haproxy", replicas[1:], tmp_path) as alone:
        people = People(front, "alice")
        people.furnish()
        with fifty_a_second(people, new_key(tmp_path, "id").public) as load:
            assert replicas[0].end() == 0
            time.sleep(0.5)
        assert load.faults == []
        assert set(load.answers) == {200, 201}
        nothing_is_lost(replicas[1], load.received)
        assert alone.call("GET", "/healthz").status == 200
        assert replicas[1].stop() == 0
        # The twin: with nobody left, what asks would have seen it.
        assert front.call("GET", "/healthz").status == 502
        assert alone.call("GET", "/healthz").status == 503
