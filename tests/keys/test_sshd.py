"""Real logins with plain keys at a real sshd: one way in, and every way that must not be one."""

import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deploy.sandbox_sshd import HelperFiles, SandboxSshd
from tests.host.liar import answer
from tests.host.sshd import Authority
from tests.keys.conftest import EXPIRY, KeyService, Pair, bound, make_pair
from tests.keys.test_keycmd import LIES
from tests.ssh.conftest import initialised
from tests.ssh.conftest import service as real_service
from tests.ssh.service import People, Service

__all__ = ["initialised", "real_service"]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the accounts of the sandbox need root")
INSIDE = "/run/tms"
EXTRA = (
    f"AuthorizedKeysCommand {INSIDE}/usr/libexec/tms/tms-keycmd --config {INSIDE}/host.conf %u %U %f %t\n"
    "AuthorizedKeysCommandUser tms-helper\n"
)


@dataclass
class Site:
    """A service, an sshd that asks it about plain keys and certificates, and alice."""

    service: Service
    people: People
    sshd: SandboxSshd
    directory: Path
    keys: int = 0

    def pair(self) -> Pair:
        self.keys += 1
        return make_pair(self.directory, f"id{self.keys}")

    def escrow(self, pair: Pair, **more) -> dict:
        body = {**self.people.body(pair.public), **more}
        return self.service.good("POST", "public-keys", self.people.client, body)

    def escrowed(self, **more) -> Pair:
        pair = self.pair()
        self.escrow(pair, **more)
        return pair

    def admin(self, method: str, path: str, body: object = None) -> dict:
        return self.service.good(method, path, self.service.operator, body)

    def set(self, statement: str, *values: object) -> None:
        """Let time pass, as far as the database is concerned."""
        with closing(sqlite3.connect(self.service.data / "tms.db", timeout=60)) as database, database:
            assert database.execute(statement, values).rowcount == 1

    def login(self, pair: Pair, **options) -> bool:
        return log_in(self.sshd, pair.path, **options)


def log_in(sshd: SandboxSshd, key: Path, certificate: Path | None = None, **options) -> bool:
    """Try a real login; tell whether it opened."""
    done = sshd.ssh(key, certificate, "echo in", **options)
    if done.returncode == 0 and done.stdout == "in\n":
        return True
    assert "Permission denied" in done.stderr, (done, sshd.log[-1500:])
    return False


@pytest.fixture
def site(real_service, tmp_path) -> Iterator[Site]:
    people = People(real_service, "alice")
    people.furnish()
    ca = real_service.call("GET", "ca/user.pub").body.decode()
    helper = HelperFiles(None, real_service.url, "default", "h1", people.host, timeout_seconds=30)
    with SandboxSshd(tmp_path / "sshd", ca, helper, accounts=("alice", "bob"), extra=EXTRA) as sshd:
        yield Site(real_service, people, sshd, tmp_path)


def test_a_key_opens_its_account_and_no_other_until_it_is_deleted(site):
    pair, stranger = site.escrowed(), site.pair()
    assert site.login(pair)
    assert not site.login(pair, account="bob")  # a fingerprint that is good elsewhere
    assert not site.login(stranger)
    fingerprint = pair.fingerprint.replace("/", "%2F").replace("+", "%2B")
    site.service.good("DELETE", f"public-keys/{fingerprint}", site.people.client)
    assert not site.login(pair)
    site.escrow(pair)
    assert site.login(pair)


def test_the_public_half_alone_opens_nothing(site):
    pair, thief = site.escrowed(), site.pair()
    Path(f"{thief.path}.pub").write_text(pair.public + "\n")
    assert not log_in(site.sshd, thief.path)
    assert site.login(pair)


def test_every_revocation_closes_it(site):
    pair = site.escrowed()
    for selector, value in (("user", "alice"), ("client_id", "portal"), ("host", "h1")):
        assert site.login(pair), selector
        made = site.admin("POST", "revocations", {selector: value, "reason": "test"})
        assert not site.login(pair), selector
        site.admin("POST", f"revocations/{made['id']}/lift")
        assert not site.login(pair), selector
        site.escrow(pair)
    assert site.login(pair)
    site.admin("POST", "revocations", {"delegation_id": site.people.delegation, "reason": "test"})
    assert not site.login(pair)
    site.people.delegate()
    site.escrow(pair)
    assert site.login(pair)
    site.admin("POST", "revocations", {"public_key_fingerprint": pair.fingerprint, "reason": "leaked"})
    assert not site.login(pair)
    refused = site.service.call("POST", "public-keys", site.people.client, site.people.body(pair.public))
    assert refused.json["code"] == "key_revoked"
    assert site.login(site.escrowed())


def test_it_closes_with_its_time_and_with_the_mfa_window(site):
    pair = site.escrowed()
    assert site.login(pair)
    site.set("UPDATE public_keys SET expires_at = ?", int(time.time()) - 1)
    assert not site.login(pair)
    site.escrow(pair)
    assert site.login(pair)
    site.set("UPDATE users SET mfa_verified_at = ?", int(time.time()) - 86400)
    assert not site.login(pair)
    site.set("UPDATE users SET mfa_verified_at = ?", int(time.time()) - 60)
    assert site.login(pair)


def test_what_was_not_allowed_cannot_be_done(site):
    constraints = {"force_command": "echo forced", "source_address": ["127.0.0.0/8"], "extensions": ["permit-pty"]}
    site.admin("POST", "revocations", {"delegation_id": site.people.delegation, "reason": "narrower"})
    wish = {"user": "alice", "host": "h1", "account": "alice", "lifetime_seconds": 3600, "purpose": "x"}
    asked = site.service.good("POST", "delegations", site.people.client, {**wish, "constraints": constraints})
    site.service.good("POST", f"delegations/{asked['id']}/approve", site.people.session, {})
    pair = site.escrowed()
    assert site.sshd.ssh(pair.path, None, "echo in").stdout == "forced\n"
    assert not site.login(site.escrowed(source_address=["127.9.9.9/32"]))
    plain = site.escrowed(extensions=[])
    for one, allowed in ((pair, True), (plain, False)):
        done = site.sshd.ssh(one.path, None, options=("RequestTTY=force",))
        assert ("PTY allocation request failed" not in done.stderr) is allowed, done
    forward = site.sshd.ssh(pair.path, None, "x", options=("ExitOnForwardFailure=yes", "RemoteForward=0 127.0.0.1:9"))
    assert forward.returncode == 255


def test_a_service_that_is_gone_lets_nobody_in_and_one_that_is_back_does(site):
    pair = site.escrowed()
    assert site.login(pair)
    helper = replace(site.sshd.helper, timeout_seconds=1.0)
    with replace(site.sshd, workdir=site.directory / "impatient", helper=helper, port=0, _process=None) as impatient:
        site.service.signal(signal.SIGSTOP)
        try:
            assert not log_in(impatient, pair.path)
        finally:
            site.service.signal(signal.SIGCONT)
    assert site.login(pair)


def test_a_certificate_is_judged_as_a_certificate_beside_it(site):
    pair = site.pair()
    issued = site.people.issue(pair.public)
    certificate = site.directory / "cert.pub"
    certificate.write_text(issued.json["certificate"] + "\n")
    assert log_in(site.sshd, pair.path, certificate)
    assert accepted(site.sshd) == ["ED25519-CERT"]
    site.admin("POST", "revocations", {"serial": issued.json["serial"], "reason": "test"})
    assert not log_in(site.sshd, pair.path, certificate)
    # Escrowing its key brings a revoked certificate no further: ssh offers it first, and gets in with the key.
    site.escrow(pair)
    assert log_in(site.sshd, pair.path, certificate)
    assert accepted(site.sshd) == ["ED25519-CERT", "ED25519"]


def accepted(sshd: SandboxSshd) -> list[str]:
    """Return by what sshd let people in."""
    return re.findall(r"Accepted publickey for alice .* ssh2: (\S+)", sshd.log)


@pytest.fixture
def lying(tmp_path) -> Iterator[tuple[SandboxSshd, KeyService, Pair]]:
    """An sshd whose service says whatever a test wants."""
    pair = make_pair(tmp_path, "id")
    token = "tms_h_0123456789abcdefghijklmnopqrstuvwxyzABCDEF0"
    authority = Authority(tmp_path)
    with KeyService(lambda q: answer(f"restrict,{EXPIRY} {pair.public}\n".encode(), bound=bound(q))) as service:
        helper = HelperFiles(None, f"http://127.0.0.1:{service.port}", "default", "h1", token, timeout_seconds=30)
        with SandboxSshd(tmp_path / "sshd", authority.lines, helper, extra=EXTRA) as sshd:
            yield sshd, service, pair


def test_G_03_a_service_that_lies_lets_nobody_in(lying, tmp_path):
    sshd, service, pair = lying
    other = make_pair(tmp_path, "other")
    blob = pair.public.split(" ")[1]
    names = {"public": pair.public, "other": other.public, "blob": blob, "half": blob[:40]}
    truth = service.reply
    assert log_in(sshd, pair.path)
    assert len(LIES) >= 20
    for name, lie in LIES.items():
        service.reply = lambda q, lie=lie: lie(q, names)
        assert not log_in(sshd, pair.path), name
    service.reply = truth
    assert log_in(sshd, pair.path)


def test_sshd_itself_sees_to_the_end_of_a_line(lying):
    sshd, service, pair = lying
    version = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
    if version.startswith(("OpenSSH_7", "OpenSSH_8", "OpenSSH_9.0")):
        pytest.skip("expiry-time in UTC needs OpenSSH 9.1")
    assert log_in(sshd, pair.path)
    line = f'restrict,expiry-time="20200101000000Z" {pair.public}\n'
    service.reply = lambda q: answer(line.encode(), bound=bound(q))
    assert not log_in(sshd, pair.path)


def test_a_foreign_ca_brings_nobody_in(lying, tmp_path):
    """The service names the thief's CA: the certificate is not for this helper, and the line not for the plain key."""
    sshd, service, _ = lying
    (tmp_path / "foreign").mkdir()
    foreign = Authority(tmp_path / "foreign")
    key, certificate = foreign.issue("thief", "alice", "alice@h1")
    line = f'cert-authority,principals="alice" {" ".join(foreign.lines.split()[:2])}\n'
    service.reply = lambda q: answer(line.encode(), bound=bound(q) if "fingerprint" in q.body else None)
    assert not log_in(sshd, key, certificate)
    assert not log_in(sshd, key)
