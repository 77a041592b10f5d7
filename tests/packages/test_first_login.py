"""From nothing to a first login, with the commands of docs/hosts.md: the real service, package, daemon and sshd."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pyotp
import pytest

from deploy.build_host import ROOT
from deploy.sandbox_sshd import free_port
from tests.packages.conftest import VERSION

BIN = Path(sys.executable).parent
PASSWORD = "a test needs no secret"
# As systemd runs the daemon: the unit's user, group and one capability.
DAEMON = ["setpriv", "--reuid", "tms-host", "--regid", "tms-host", "--groups", "tty", "--inh-caps", "+kill", "--ambient-caps",
          "+kill", "/usr/sbin/tms-hostd"]  # fmt: skip


CALLS = "/tmp/calls-of-the-daemon"
STRACE = ["strace", "-f", "-qq", "-c", "-o", CALLS]


def allowed_calls() -> set[str]:
    """Return the system calls that the daemon's unit allows, as systemd itself expands them."""
    unit = (ROOT / "deploy/host/tms-hostd.service").read_text()
    allowed: set[str] = set()
    for words in re.findall(r"^SystemCallFilter=(.*)$", unit, flags=re.MULTILINE):
        calls = {call for word in words.lstrip("~").split() for call in members(word)}
        allowed = allowed - calls if words.startswith("~") else allowed | calls
    return allowed


def members(group: str) -> set[str]:
    if not group.startswith("@"):
        return {group}
    shown = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", group], capture_output=True, text=True, check=True
    )
    words = [
        line.strip() for line in shown.stdout.splitlines()[1:] if line.strip() and not line.strip().startswith("#")
    ]
    return {call for word in words for call in members(word)}


class Site:
    """The service, its operator, a user and an application: what stands before the host comes."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.url = ""
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TMS_")},
            "TMS_CA_DATA": str(work / "data"), "TMS_CONFIG": str(work / "tms.toml"), "PATH": f"{BIN}:{os.environ['PATH']}",
        }  # fmt: skip

    def run(self, *words: str | Path, text: str = "") -> str:
        done = subprocess.run(
            list(map(str, words)),
            input=text,
            capture_output=True,
            text=True,
            env=self.environment,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def served(self):
        with (self.work / "service.log").open("ab") as log:
            process = subprocess.Popen(
                ["tms-ca", "serve", "--port", str(self.port)], stdout=subprocess.PIPE, stderr=log, text=True, env=self.environment,
                executable=BIN / "tms-ca",
            )  # fmt: skip
            try:
                assert process.stdout
                assert self.url in process.stdout.readline()
                yield process
            finally:
                process.terminate()
                process.wait(60)
                process.stdout.close()

    def prepare(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.run("tms-ca", "init", "--data", self.work / "data")

    def people(self) -> None:
        """Alice, her account alice@stampede3, and a portal that may act for her."""
        secret = json.loads(self.run("tms-ca", "clients", "create", "portal", "--json"))["secret"]
        (self.work / "secret").touch(0o600)
        (self.work / "secret").write_text(secret + "\n")
        (self.work / "tms.toml").write_text(
            f'url = "{self.url}"\ntenant = "default"\nclient_id = "portal"\nclient_secret_file = "{self.work}/secret"\n'
        )
        self.run("tms-ca", "users", "create", "alice", "--password-stdin", text=PASSWORD + "\n")
        self.run("tms-ca", "links", "create", "alice", "alice@stampede3", "--days", "30")
        self.run("tms", "login", "alice", "--password-stdin", text=PASSWORD + "\n")
        seed = json.loads(self.run("tms", "mfa", "enrol", "--json"))["seed"]
        self.run("tms", "mfa", "verify", pyotp.TOTP(seed).now())
        asked = json.loads(
            self.run("tms", "delegate", "alice", "alice@stampede3", "--for", "8h", "--purpose", "a test", "--json")
        )
        self.run("tms", "approve", asked["id"])

    def certificate(self, name: str) -> Path:
        key = self.work / name
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key)
        self.run("tms", "cert", "alice", "alice@stampede3", "--key", f"{key}.pub", "--out", f"{key}-cert.pub")
        return key


class Host:
    """The machine with sshd, as the administrator has left it."""

    def __init__(self, machine, site: Site) -> None:
        self.machine = machine
        self.site = site
        self.port = free_port()
        self.daemon: subprocess.Popen[bytes] | None = None

    def start_daemon(self, *under: str) -> None:
        command = [*DAEMON[:-1], *under, DAEMON[-1]]
        self.daemon = self.machine.spawn(self.site.work / "hostd.log", *command)
        self.until(
            lambda: "daemon        runs" in self.machine.sh("tms-host status").stdout, "tms-hostd does not answer"
        )

    def start_sshd(self) -> None:
        self.machine.spawn(self.site.work / "sshd.log", "/usr/sbin/sshd", "-D", "-e", "-p", str(self.port),
                           "-o", "ListenAddress=127.0.0.1", "-o", "PidFile=/run/sshd.pid")  # fmt: skip
        self.until(lambda: f"port {self.port}" in self.log("sshd"), "sshd does not listen")

    def log(self, name: str) -> str:
        return (self.site.work / f"{name}.log").read_text(errors="replace")

    def until(self, condition, otherwise: str) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, otherwise + "\n" + self.everything()
            time.sleep(0.05)

    def everything(self) -> str:
        found = sorted(self.site.work.glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in found)

    def ssh(self, key: Path, alias: str = "stampede3") -> "subprocess.CompletedProcess[str]":
        """Log in as a stranger to the host would: the only thing known is the host CA."""
        options = ["BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=yes", f"HostKeyAlias={alias}",
                   f"UserKnownHostsFile={self.site.work}/known_hosts", "GlobalKnownHostsFile=none", "ConnectTimeout=60",
                   f"CertificateFile={key}-cert.pub"]  # fmt: skip
        flags = [word for option in options for word in ("-o", option)]
        command = ["ssh", "-F", "none", "-p", str(self.port), "-i", key, *flags, "alice@127.0.0.1", "id -un"]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
        )


@pytest.fixture
def site(tmp_path):
    if shutil.which("sshd", path="/usr/sbin") is None or shutil.which("strace") is None:
        pytest.skip("sshd or strace is missing: deploy/debian-packages.sh sshd test")
    made = Site(tmp_path)
    made.prepare()
    with made.served() as made.process:
        yield made


def invite(site: Site) -> list[str]:
    """Return TOKEN and the --host-ca words of the line that the operator sends to the host's administrator."""
    (line,) = site.run("tms-ca", "hosts", "invite", "stampede3").splitlines()
    command, name, _url, *words = line.split()
    assert (command, name) == ("tms-host", "join")
    return words


def test_ten_minutes_from_nothing_to_a_first_login(packages, machine, site):
    """And the ways back: a revoked certificate, a dead daemon, a service that is away, a host that left."""
    site.run("tms-ca", "hosts", "create", "stampede3", "--address", "login.stampede3.example.org")
    site.people()
    host = Host(machine, site)
    machine.run("useradd -m -s /bin/sh alice; ssh-keygen -A >/dev/null")
    machine.run('dpkg -i "$1"', machine.put(packages / f"tms-host_{VERSION}_all.deb"))
    token, *pin = invite(site)
    said = machine.run('tms-host join "$@" --write-sshd', site.url, token, *pin)
    assert "wrote /etc/ssh/sshd_config.d/50-tms.conf" in said
    assert "used" in machine.run('tms-host join "$@"', site.url, token, *pin, status=1)  # a token is good once
    host.start_sshd()
    host.start_daemon(*STRACE)
    with urllib.request.urlopen(f"{site.url}/api/v1/tenants/default/known_hosts", timeout=60) as answer:
        (site.work / "known_hosts").write_bytes(answer.read())

    host.until(lambda: "all is well" in machine.sh("tms-host status").stdout, "the host is not well")
    doctor = machine.sh("tms-host doctor").stdout
    assert "Verdict" in doctor
    for part in ("helper_fails", "daemon_", "krl_", "service_"):  # what the join made is sound
        assert f"\n  {part}" not in doctor, doctor
    good, bad = site.certificate("good"), site.certificate("bad")
    login = host.ssh(good)
    assert (login.returncode, login.stdout) == (0, "alice\n"), login.stderr + host.everything()
    assert host.ssh(good, alias="login.stampede3.example.org").returncode == 0
    assert "Host key verification failed" in host.ssh(good, alias="elsewhere").stderr

    assert host.ssh(bad).returncode == 0
    serial = next(
        line.split()[1]
        for line in site.run("ssh-keygen", "-L", "-f", f"{bad}-cert.pub").splitlines()
        if "Serial:" in line
    )
    site.run("tms-ca", "revocations", "create", "--serial", serial, "--reason", "a test")
    assert "Permission denied" in host.ssh(bad).stderr
    assert host.ssh(good).returncode == 0

    assert host.daemon is not None
    # Not by its name, which a child that it has just forked has as well.
    machine.run(f"kill -9 {json.loads(machine.sh('tms-host status --json').stdout)['daemon_pid']}")
    host.daemon.wait(60)
    counted = [line.split()[-1] for line in machine.run(f"cat {CALLS}").splitlines()[2:-2]]
    assert "sendto" in counted
    assert set(counted) - allowed_calls() == set()  # what the unit forbids is nothing that the daemon does
    assert host.ssh(good).returncode == 0, host.everything()  # the helper asks by itself
    assert "Permission denied" in host.ssh(bad).stderr
    host.start_daemon()

    site.process.terminate()
    site.process.wait(60)
    assert "Permission denied" in host.ssh(good).stderr
    with site.served():
        assert host.ssh(good).returncode == 0, host.everything()
        before = machine.run("cat /etc/tms/token")
        machine.run("tms-host rotate")
        assert machine.run("cat /etc/tms/token") != before
        assert host.ssh(good).returncode == 0, host.everything()
        left = machine.run("tms-host leave")
        assert "/etc/ssh/sshd_config.d/50-tms.conf" in left
        assert host.ssh(good).returncode != 0
    assert machine.run("ls /etc/tms").split() == ["host.conf.example"]


def shell_blocks(chapter: str) -> list[str]:
    """Return the shell of a chapter of docs/hosts.md."""
    page = (ROOT / "docs/hosts.md").read_text()
    text = page[page.index(f"## {chapter}\n") :].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_by_hand_without_join_and_daemon(packages, machine, site):
    """The chapter's own lines; then its script for the KRL, and with the service gone sshd knows what is revoked."""
    secret = json.loads(site.run("tms-ca", "hosts", "create", "stampede3", "--json"))["secret"]
    site.people()
    host = Host(machine, site)
    machine.run("useradd -m -s /bin/sh alice; ssh-keygen -A >/dev/null")
    for name, text in (
        ("token", secret + "\n"),
        ("host.conf", f"url = {site.url}\ntenant = default\nhost = stampede3\ntoken_file = /etc/tms/token\n"),
    ):
        (site.work / name).write_text(text)
        machine.put(site.work / name)
    machine.put(packages / f"tms-host-{VERSION}.tar.gz")
    setup, krl = (block.replace("https://tms.example.org", site.url) for block in shell_blocks("By hand"))
    machine.run("cd /root\n" + setup)
    (site.work / "tms-krl").write_text(krl)
    sshd_lines = (
        "sed '/^RevokedKeys/d' /root/tms-host-*/usr/share/tms-host/50-tms.conf >/etc/ssh/sshd_config.d/50-tms.conf"
    )
    machine.run(sshd_lines)
    host.start_sshd()
    (site.work / "known_hosts").write_text("stampede3 " + machine.run("cat /etc/ssh/ssh_host_ed25519_key.pub"))
    good, bad = site.certificate("good"), site.certificate("bad")
    assert host.ssh(good).stdout == "alice\n", host.everything()
    assert host.ssh(bad).stdout == "alice\n"
    serial = next(
        line.split()[1]
        for line in site.run("ssh-keygen", "-L", "-f", f"{bad}-cert.pub").splitlines()
        if "Serial:" in line
    )
    site.run("tms-ca", "revocations", "create", "--serial", serial, "--reason", "a test")
    assert "Permission denied" in host.ssh(bad).stderr
    machine.run('sh "$1"', machine.put(site.work / "tms-krl"))
    for name, revoked in (("bad", True), ("good", False)):
        certificate = machine.put(Path(f"{site.work / name}-cert.pub"))
        said = machine.run('ssh-keygen -Q -f /var/lib/tms-host/krl "$1"', certificate, status=1 if revoked else 0)
        assert ("REVOKED" in said) is revoked
