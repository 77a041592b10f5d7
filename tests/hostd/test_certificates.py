"""Host certificates: renewed in time, checked before they are installed, and a real sshd that then offers them."""

import base64
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from deploy.sandbox_sshd import free_port
from keycmd.config import load
from keycmd.hostcert import CertificateError, HostCertificate, check
from keycmd.hostd.certificates import Certificates, due
from keycmd.hostd.daemon import Daemon
from keycmd.service import ServiceError
from tests.hostd.machine import Machine, copied, wait_until
from tests.ssh.service import Service

DAY = 86400


@pytest.fixture(scope="module")
def initialised(tmp_path_factory):
    made = Service(tmp_path_factory.mktemp("initialised") / "data")
    made.init()
    return made


@pytest.fixture
def joined(initialised, tmp_path):
    """A machine that has joined a running service."""
    service = copied(initialised, tmp_path)
    with Machine() as machine:
        machine.join(service)
        yield machine, service
    service.stop()


@pytest.fixture
async def keeper(joined):
    machine, _ = joined
    daemon = Daemon(str(machine.config), load(str(machine.config)))
    made = Certificates(daemon, str(machine.root / "sshd.pid"), (str(machine.root / "sshd_config"),))
    yield made
    daemon.upstream.close()


def certificates(machine) -> dict[str, HostCertificate]:
    return {
        path.name: HostCertificate(path.read_text())
        for path in sorted((machine.state / "host-certs").glob("*-cert.pub"))
    }


async def test_two_thirds_of_their_life_renew_them_all(joined, keeper):
    machine, _ = joined
    before = certificates(machine)
    now = time.time()
    assert not await keeper.look(now + 19 * DAY)
    assert certificates(machine).keys() == before.keys()
    assert [c.serial for c in certificates(machine).values()] == [c.serial for c in before.values()]
    assert await keeper.look(now + 20.1 * DAY)
    after = certificates(machine)
    assert after.keys() == before.keys()
    assert all(after[name].serial != before[name].serial for name in after)
    assert all(after[name].public_key == before[name].public_key for name in after)
    assert all((machine.state / "host-certs" / name).stat().st_mode & 0o7777 == 0o644 for name in after)


async def test_the_configuration_read_again_renews_them_with_the_names_of_now(joined, keeper):
    machine, service = joined
    names = {name: c.principals for name, c in certificates(machine).items()}
    assert not any("new.example.org" in principals for principals in names.values())
    service.good("PATCH", "hosts/h1", service.operator, {"addresses": ["h1.example.org", "new.example.org"]})
    assert not await keeper.look(time.time())  # the twin: nothing tells of it
    keeper._daemon.reload()
    service.good("PATCH", "hosts/h1", service.operator, {"enabled": False})
    with pytest.raises(ServiceError):
        await keeper.look(time.time())
    service.good("PATCH", "hosts/h1", service.operator, {"enabled": True})
    assert await keeper.look(time.time())  # it was still to do
    assert all("new.example.org" in c.principals for c in certificates(machine).values())
    assert not await keeper.look(time.time())


@pytest.mark.parametrize("content", [b"", b"garbage\n", None])
async def test_a_certificate_that_is_missing_or_broken_is_renewed(joined, keeper, content):
    machine, _ = joined
    path = machine.state / "host-certs/ssh_host_ecdsa_key-cert.pub"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert await keeper.look(time.time())
    HostCertificate(path.read_text())


async def test_a_certificate_of_a_key_that_is_trusted_no_more_is_renewed(joined, keeper, tmp_path):
    machine, _ = joined
    ca = (machine.state / "host_ca.pub").read_text()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "x"], check=True)
    path = machine.state / "host-certs/ssh_host_ecdsa_key"
    command = ["ssh-keygen", "-q", "-s", tmp_path / "x", "-h", "-I", "x", "-n", "h1", "-V", "-1m:+30d", f"{path}.pub"]
    subprocess.run(command, check=True)
    assert HostCertificate(Path(f"{path}-cert.pub").read_text()).ca_key not in ca
    assert await keeper.look(time.time())
    assert HostCertificate(Path(f"{path}-cert.pub").read_text()).ca_key == ca.strip()


async def test_what_cannot_be_renewed_stays(joined, keeper):
    machine, service = joined
    before = machine.files()
    service.stop()
    with pytest.raises(ServiceError):
        await keeper.look(time.time() + 25 * DAY)
    assert machine.files() == before
    service.start()


def signed(
    directory: Path, *words: str, key: str = "h", validity: str = "-1m:+1d", host: tuple[str, ...] = ("-h",)
) -> str:
    for name in ("ca", "other", "h", "h2"):
        if not (directory / name).exists():
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", directory / name], check=True
            )
    command = ["ssh-keygen", "-q", *(words or ("-s", directory / "ca")), *host, "-I", "x", "-n", "h1", "-V", validity]
    subprocess.run([*command, directory / f"{key}.pub"], check=True)
    return (directory / f"{key}-cert.pub").read_text()


def test_only_a_good_certificate_of_this_host_is_taken(tmp_path):
    good = HostCertificate(signed(tmp_path))
    key = (tmp_path / "h.pub").read_text().strip()
    ca = (tmp_path / "ca.pub").read_text().strip()
    now = time.time()
    check(good, key, [ca], now)
    wrong = {
        "another key": lambda: check(HostCertificate(signed(tmp_path, key="h2")), key, [ca], now),
        "not of a host CA key": lambda: check(
            HostCertificate(signed(tmp_path, "-s", tmp_path / "other")), key, [ca], now
        ),
        "not valid now": lambda: check(HostCertificate(signed(tmp_path, validity="-2d:-1d")), key, [ca], now),
        "a user's certificate": lambda: HostCertificate(signed(tmp_path, host=())),
    }
    for said, taking in wrong.items():
        with pytest.raises(CertificateError, match=said):
            taking()
    kind, blob = good.line.split()
    raw = base64.b64decode(blob)
    for at in (-1, -20, 60, len(raw) // 2):
        broken = bytearray(raw)
        broken[at] ^= 1
        with pytest.raises(CertificateError):
            check(HostCertificate(f"{kind} {base64.b64encode(bytes(broken)).decode()}"), key, [ca], now)
    for cut in (0, 1, 40, len(raw) - 100):
        with pytest.raises(CertificateError):
            HostCertificate(f"{kind} {base64.b64encode(raw[:cut]).decode()}")


class Sshd:
    """A real sshd on the machine's host keys and certificates; SIGHUP makes it read its configuration again."""

    def __init__(self, machine: Machine) -> None:
        self.config, self.pid_file = machine.root / "sshd_config", machine.root / "sshd.pid"
        self.port = free_port()
        lines = [f"Port {self.port}", "ListenAddress 127.0.0.1", f"PidFile {self.pid_file}", "UsePAM no"]
        for kind in ("ed25519", "ecdsa"):
            lines.append(f"HostKey {machine.root}/etc/ssh/ssh_host_{kind}_key")
            lines.append(f"HostCertificate {machine.state}/host-certs/ssh_host_{kind}_key-cert.pub")
        self.config.write_text("\n".join(lines) + "\n")
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.log_file = machine.root / "sshd.log"
        self.log = self.log_file.open("wb")
        self.process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", self.config], stderr=self.log)
        wait_until(lambda: self.pid_file.exists() and self.pid_file.read_text())  # there is a moment between

    @property
    def text(self) -> str:
        return self.log_file.read_text()

    def offered(self) -> set[int]:
        """Return the serials of the certificates that it offers."""
        command = ["ssh-keyscan", "-c", "-p", str(self.port), "-T", "60", "-t", "ed25519,ecdsa", "127.0.0.1"]
        out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        # A line is the certificate; later versions write the host's name before it.
        return {HostCertificate(" ".join(line.split()[-2:])).serial for line in out.splitlines() if "cert" in line}


@pytest.fixture
def sshd(joined):
    if os.geteuid() != 0:
        pytest.skip("sshd on host keys of a directory needs root")
    made = Sshd(joined[0])
    yield made
    made.process.send_signal(signal.SIGTERM)
    made.process.wait(60)
    made.log.close()


async def renewed(machine, keeper) -> tuple[set[int], set[int]]:
    """Renew; return the serials of before and after."""
    before = {c.serial for c in certificates(machine).values()}
    await keeper.look(time.time() + 21 * DAY)
    return before, {c.serial for c in certificates(machine).values()}


async def test_a_real_sshd_offers_the_new_certificates(joined, keeper, sshd):
    machine, _ = joined
    assert sshd.offered() == {c.serial for c in certificates(machine).values()}
    state: dict = {}
    keeper._tell_sshd(state)
    assert state["sshd"] is None
    before, after = await renewed(machine, keeper)
    assert not before & after
    keeper._tell_sshd(state)
    assert state["sshd"] is None
    wait_until(lambda: "Received SIGHUP; restarting" in sshd.text)
    wait_until(lambda: sshd.pid_file.exists() and sshd.offered() == after)
    read_at = sshd.pid_file.stat().st_mtime
    keeper._tell_sshd(state)  # it has read them: nothing to tell
    assert sshd.pid_file.stat().st_mtime == read_at


async def test_an_sshd_whose_configuration_is_being_changed_is_left_alone(joined, keeper, sshd):
    machine, _ = joined
    await renewed(machine, keeper)
    sshd.config.write_text(sshd.config.read_text() + "NoSuchWord yes\n")  # SIGHUP would end it
    state: dict = {}
    keeper._tell_sshd(state)
    assert "is newer than sshd's last start" in state["sshd"]
    assert "SIGHUP" not in sshd.text
    assert sshd.process.poll() is None


@pytest.mark.parametrize("content", ["", "x", "1", "999999999"])
async def test_nobody_else_gets_the_signal(joined, keeper, content):
    machine, _ = joined
    pid_file = machine.root / "sshd.pid"
    pid_file.write_text(content)
    os.utime(pid_file, (1, 1))
    (machine.root / "sshd_config").write_text("")
    os.utime(machine.root / "sshd_config", (0, 0))
    state: dict = {}
    keeper._renewed = True
    keeper._tell_sshd(state)
    assert "names no process" in state["sshd"] or "not sshd" in state["sshd"]
    sleeper = subprocess.Popen(["sleep", "60"])
    pid_file.write_text(str(sleeper.pid))
    os.utime(pid_file, (1, 1))
    keeper._tell_sshd(state)
    assert "not sshd" in state["sshd"]
    assert sleeper.poll() is None
    sleeper.kill()
    sleeper.wait()


def test_due_is_two_thirds():
    class Made:
        valid_after, valid_before = 1000, 4000

    assert due(Made) == 3000


def test_the_answer_must_have_one_certificate_for_each_key(joined):
    machine, _ = joined
    daemon = type("D", (), {"config": load(str(machine.config)), "state": {}})()
    keeper = Certificates(daemon)
    keys = {str(path): path.read_text().strip() for path in sorted((machine.state / "host-certs").glob("*_key.pub"))}
    lines = [certificate.line for certificate in certificates(machine).values()]
    before = machine.files()
    for wrong in (lines[:1], lines[::-1], [lines[0], lines[0]], [1, 2], "x", []):
        with pytest.raises(CertificateError):
            keeper._install(json.dumps({"certificates": wrong}).encode(), keys, time.time())
        assert machine.files() == before
    keeper._install(json.dumps({"certificates": lines}).encode(), keys, time.time())
