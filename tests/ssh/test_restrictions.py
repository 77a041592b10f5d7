"""Restrictions of logins at a real sshd: certificates that were there before are restricted, and by sshd itself."""

import getpass
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from deploy.sandbox_sshd import SandboxSshd
from tms_ca.core.times import compact_utc


@dataclass
class Login:
    """A certificate that may forward ports, and a way to try it."""

    site: object
    key: object
    certificate: object

    def restrict(self, **restrictions) -> None:
        """Restrict the delegation: from the next login on."""
        path = f"delegations/{self.site.people.delegation}/restrictions"
        self.site.service.good("PATCH", path, self.site.people.session, restrictions)

    def run(self) -> str:
        """Return what a login that asks for `echo in` prints; "" where it is refused."""
        done = self.site.sshd.ssh(self.key, self.certificate, "echo in")
        return done.stdout if done.returncode == 0 else ""

    def forwards(self, port: int) -> bool:
        """Tell whether a login may forward to a port of this machine."""
        command = self.site.sshd.ssh_command(self.key, self.certificate)
        command[1:1] = ["-W", f"127.0.0.1:{port}"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False)
        return done.stdout == b"hello"


@contextmanager
def greeter() -> Iterator[int]:
    """Say hello on a port; yield it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"hello")

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def login(site) -> Login:
    people = site.people
    wish = {"user": "alice", "host": "h1", "account": people.account, "lifetime_seconds": 86400, "purpose": "test",
            "constraints": {"extensions": ["permit-port-forwarding"]}}  # fmt: skip
    asked = site.service.good("POST", "delegations", people.client, wish)
    site.service.good("POST", f"delegations/{people.delegation}/revoke", people.session)
    site.service.good("POST", f"delegations/{asked['id']}/approve", people.session, {})
    people.delegation = asked["id"]
    key, certificate, _ = site.certified()
    made = Login(site, key, certificate)
    assert made.run() == "in\n"
    return made


def test_a_login_from_elsewhere_is_refused(login):
    login.restrict(source_address=["192.0.2.0/24"])
    assert login.run() == ""
    login.restrict(source_address=["127.0.0.0/8"])
    assert login.run() == "in\n"


def test_the_hosts_restrictions_count_as_well(login):
    service = login.site.service
    service.good("PATCH", "hosts/h1", service.operator, {"restrictions": {"source_address": ["192.0.2.0/24"]}})
    assert login.run() == ""
    service.good("PATCH", "hosts/h1", service.operator, {"restrictions": None})
    assert login.run() == "in\n"


@pytest.mark.parametrize("command", ["echo forced", "echo 'a,b=c' | cut -c1-4; true"])
def test_a_command_is_forced(login, command):
    login.restrict(force_command=command)
    expected = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False).stdout
    assert expected not in {"", "in\n"}
    assert login.run() == expected
    login.restrict(force_command=None)
    assert login.run() == "in\n"


def test_restrict_stops_forwarding(login):
    with greeter() as port:
        assert login.forwards(port)
        login.restrict(restrict=True)
        assert not login.forwards(port)
        assert login.run() == "in\n"  # and nothing else
        login.restrict(restrict=False)
        assert login.forwards(port)


def test_a_login_forwards_to_what_is_named_and_nowhere_else(login):
    with greeter() as named, greeter() as other:
        login.restrict(permit_open=[f"127.0.0.1:{named}", "db.example.org:5432"])
        assert login.forwards(named)
        assert not login.forwards(other)


def test_all_of_them_in_one_line(login):
    login.restrict(restrict=True, source_address=["127.0.0.0/8", "::1/128"], force_command="echo 'a, b = c'",
                   permit_open=["127.0.0.1:1"], expiry=True)  # fmt: skip
    assert login.run() == "a, b = c\n"


def test_another_command_than_the_certificates_own_is_refused_by_the_service(login):
    """sshd would refuse it, too; the service says why."""
    service, people = login.site.service, login.site.people
    service.good("POST", f"delegations/{people.delegation}/revoke", people.session)
    wish = {"user": "alice", "host": "h1", "account": people.account, "lifetime_seconds": 86400, "purpose": "test",
            "constraints": {"force_command": "echo own"}}  # fmt: skip
    asked = service.good("POST", "delegations", people.client, wish)
    service.good("POST", f"delegations/{asked['id']}/approve", people.session, {})
    people.delegation = asked["id"]
    login.key, login.certificate, _ = login.site.certified()
    assert login.run() == "own\n"
    login.restrict(force_command="echo own")
    assert login.run() == "own\n"
    login.restrict(force_command="echo other")
    assert login.run() == ""
    events = service.good("GET", "audit-events?outcome=commands_differ", service.operator)["items"]
    assert events


@pytest.mark.parametrize(("seconds", "opens"), [(3600, True), (-60, False)])
def test_sshd_itself_refuses_after_the_end_that_was_printed(site, tmp_path, seconds, opens):
    """An answer that the host may use again while the service is away carries its end with it."""
    key, certificate, _ = site.certified()
    account = "alice" if os.geteuid() == 0 else getpass.getuser()
    ends = compact_utc(int(time.time()) + seconds)
    user = "nobody" if os.geteuid() == 0 else account
    extra = (
        f'AuthorizedPrincipalsCommand /bin/echo restrict,expiry-time=\\"{ends}\\" {account}@h1\n'
        f"AuthorizedPrincipalsCommandUser {user}"
    )
    ca = site.service.call("GET", "ca/user.pub").body.decode()
    with SandboxSshd(tmp_path / "other", ca, None, accounts=(account,), extra=extra) as sshd:
        done = sshd.ssh(key, certificate, "echo in")
        assert (done.stdout == "in\n") is opens, sshd.log[-1500:]
