"""Real logins with plain keys: a real sshd with PAM, the installed tree, the real daemon and the real service."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hostd.session_host import SessionHost
from tests.hostd.test_session_pam import wait_for
from tests.hostd.test_session_real import Site, ended
from tests.keys.conftest import Pair, make_pair
from tests.patient import FOR_A_CROWD
from tests.ssh.service import People, Service

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="PAM and namespaces need root")


@dataclass
class KeySite(Site):
    """A site whose sshd asks about plain keys, too; /run/principals/keys_ACCOUNT are the machine's own."""

    def escrowed(self, **more: Any) -> Pair:
        """Make a key and escrow it."""
        self.keys += 1
        pair = make_pair(self.directory, f"plain{self.keys}")
        self.service.good("POST", "public-keys", self.people.client, {**self.people.body(pair.public), **more})
        return pair

    def enters(self, pair: Pair) -> bool:
        return self.host.ssh(pair.path, None, "echo in").stdout == "in\n"

    def records(self, pair: Pair) -> list[dict[str, Any]]:
        items = self.service.good("GET", "logins?limit=100", self.service.operator)["items"]
        return [item for item in items if item["public_key_fingerprint"] == pair.fingerprint]

    def uses_left(self, pair: Pair) -> int:
        path = "public-keys/" + pair.fingerprint.replace("/", "%2F").replace("+", "%2B")
        return self.service.good("GET", path, self.service.operator)["uses_left"]


@pytest.fixture(scope="module")
def site() -> Iterator[KeySite]:
    directory = Path(tempfile.mkdtemp(prefix="tms-uses-"))
    directory.chmod(0o755)
    service = Service(directory / "data")
    service.init()
    service.start()
    try:
        people = People(service, "alice")
        people.furnish()
        user_ca = service.call("GET", "ca/user.pub").body.decode()
        lines = (
            f"AuthorizedKeysCommand /run/tms/libexec/tms/tms-keycmd --config {directory}/host/host.conf %u %U %f %t",
            "AuthorizedKeysCommandUser tms-host",
            "AuthorizedKeysFile /run/principals/keys_%u",
        )
        with SessionHost(
            directory / "host", service.url, people.host, user_ca, sshd_lines=lines,
            settings={"report_seconds": "5", "timeout_seconds": FOR_A_CROWD},
        ) as host:  # fmt: skip
            yield KeySite(service, people, host, directory)
    finally:
        service.stop()
        shutil.rmtree(directory, ignore_errors=True)


def test_three_uses_and_twenty_logins_at_once_give_three_shells(site):
    pair = site.escrowed(max_uses=3)
    with ThreadPoolExecutor(20) as pool:
        done = list(pool.map(lambda _: site.host.ssh(pair.path, None, "echo in"), range(20)))
    assert [one.stdout for one in done].count("in\n") == 3, [(one.returncode, one.stderr) for one in done]
    assert "code=uses_exhausted" in site.host.daemon_log
    assert len(site.records(pair)) == 3
    assert not site.enters(pair)
    assert site.uses_left(pair) == 0


def test_a_use_is_a_login_whatever_sshd_asks_and_the_record_says_when_it_ended(site):
    pair = site.escrowed(max_uses=2)
    thief = make_pair(site.directory, "thief")
    Path(f"{thief.path}.pub").write_text(pair.public + "\n")  # it offers the key, and cannot sign
    assert not site.enters(thief)
    assert site.host.ssh(pair.path, None, "echo in", account="bob").returncode == 255
    assert site.uses_left(pair) == 2
    assert site.enters(pair)
    assert site.uses_left(pair) == 1
    wait_for(lambda: site.records(pair)[0]["end_reason"] == "closed")  # a report may have called it "lost" before
    (record,) = site.records(pair)
    wanted = {"user": "alice", "client_id": "portal", "account": "alice", "serial": None, "remote_address": "127.0.0.1",
              "end_reason": "closed", "counted": True, "uses_left": 1, "late": False}  # fmt: skip
    assert {name: record[name] for name in wanted} == wanted
    shown = site.service.tms_ca("logins", "list", "--user", "alice").stdout
    assert record["key_id"] in shown
    assert site.enters(pair)
    assert not site.enters(pair)


def test_the_machines_own_keys_open_it_without_anybody_and_the_services_do_not(site):
    """Also a key that the service let in a moment ago: nobody would count the login."""
    pair, own = site.escrowed(), make_pair(site.directory, "own")
    (site.directory / "own_keys").write_text(own.public + "\n")
    site.host.run("cp", str(site.directory / "own_keys"), "/run/principals/keys_alice")
    assert site.enters(own)
    assert site.records(own) == []
    assert site.enters(pair)
    assert len(site.records(pair)) == 1
    site.host.kill_daemon()
    try:
        assert site.enters(own)
        # Neither by asking the service without the daemon, nor by a line that sshd has from elsewhere.
        assert not site.enters(pair)
        (site.directory / "own_keys").write_text(f"{own.public}\n{pair.public}\n")
        site.host.run("cp", str(site.directory / "own_keys"), "/run/principals/keys_alice")
        assert not site.enters(pair)
    finally:
        site.host.run("rm", "/run/principals/keys_alice")
        site.host.start_daemon()
    assert site.enters(pair)
    assert len(site.records(pair)) == 2


def test_the_service_has_the_last_word_before_the_session(site):
    """A line of the machine's own brings a key as far as the hook that the service does not let in any more."""
    pair = site.escrowed()
    assert site.enters(pair)
    path = "public-keys/" + pair.fingerprint.replace("/", "%2F").replace("+", "%2B")
    site.service.good("DELETE", path, site.people.client)
    (site.directory / "line").write_text(pair.public + "\n")
    site.host.run("cp", str(site.directory / "line"), "/run/principals/keys_alice")
    try:
        assert not site.enters(pair)
        assert "code=public_key_unknown" in site.host.daemon_log
        assert len(site.records(pair)) == 1
        site.service.good("POST", "public-keys", site.people.client, site.people.body(pair.public))
        assert site.enters(pair)
    finally:
        site.host.run("rm", "/run/principals/keys_alice")


def test_a_session_ends_when_its_key_is_revoked_and_no_other(site):
    site.tenant(on_revocation="end", warning_seconds=0)
    revoked, other = site.escrowed(), site.escrowed()
    sessions = [site.session((pair.path, None), "echo in; read line; echo [$line]") for pair in (revoked, other)]
    with ended(*sessions):
        wait_for(lambda: site.records(revoked) and site.records(other))
        body = {"public_key_fingerprint": revoked.fingerprint, "reason": "test"}
        site.service.good("POST", "revocations", site.service.operator, body)
        site.set_host()  # reports at once
        assert sessions[0].wait(120) != 0
        wait_for(lambda: site.records(revoked)[0]["end_reason"] == "ended")
        sessions[1].stdin.write("still here\n")
        sessions[1].stdin.flush()
        assert sessions[1].stdout.readline() == "[still here]\n"
    site.tenant(on_revocation="leave")
