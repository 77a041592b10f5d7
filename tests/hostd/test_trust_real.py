"""The daemon as a process between a service, a real sshd, a full disk and a wrong clock."""

import json
import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.sandbox_sshd import SandboxSshd
from keycmd import files
from tests.host.namespaces import UNSHARE, need_namespaces, syslog
from tests.host.sshd import Authority
from tests.hostd.forger import KRL, TRUST, Forger, stamp
from tests.hostd.machine import Machine, in_the_end, shifted, wait_until
from tests.ssh.service import People, Service

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a sandboxed sshd with accounts needs root")
ECHO = "AuthorizedPrincipalsCommand /bin/echo alice@h1\nAuthorizedPrincipalsCommandUser nobody"


@pytest.fixture(scope="module")
def initialised(tmp_path_factory):
    made = Service(tmp_path_factory.mktemp("initialised") / "data")
    made.init()
    return made


@pytest.fixture
def people(initialised, tmp_path):
    """A service with a user who may get certificates for alice@h1."""
    shutil.copytree(initialised.data, tmp_path / "data")
    with Service(tmp_path / "data", operator=initialised.operator) as service:
        service.start()
        made = People(service, "alice")
        made.furnish()
        yield made


@pytest.fixture
def machine():
    with Machine() as made:
        yield made


def certified(people: People, directory: Path, name: str) -> tuple[Path, Path, dict]:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", directory / name], check=True)
    issued = people.issue((directory / f"{name}.pub").read_text().strip())
    assert issued.status == 201, issued
    (directory / f"{name}-cert.pub").write_text(issued.json["certificate"] + "\n")
    return directory / name, directory / f"{name}-cert.pub", issued.json


def revoked(krl: Path, certificate: Path) -> bool:
    done = subprocess.run(["ssh-keygen", "-Q", "-f", krl, certificate], capture_output=True, check=False)
    assert done.returncode in (0, 1), done
    return done.returncode == 1


def enters(sshd: SandboxSshd, key: Path, certificate: Path) -> bool:
    done = sshd.ssh(key, certificate, "echo in")
    if done.returncode == 0 and done.stdout == "in\n":
        return True
    assert "Permission denied" in done.stderr, (done, sshd.log[-1500:])
    return False


def test_G_09_the_krl_alone_refuses_with_the_service_down(people, machine, tmp_path):
    service = people.service
    machine.join(service)
    machine.set(poll_seconds=5, report_seconds=5)
    machine.start()
    key, certificate, issued = certified(people, tmp_path, "id1")
    other_key, other, _ = certified(people, tmp_path, "id2")
    ca = (machine.state / "user_ca.pub").read_text()
    with SandboxSshd(tmp_path / "sshd", ca, extra=ECHO, revoked_keys=machine.state / "krl") as sshd:
        assert enters(sshd, key, certificate)
        body = {"serial": issued["serial"], "reason": "lost"}
        made = service.good("POST", "revocations", service.operator, body)
        took = wait_until(lambda: revoked(machine.state / "krl", certificate), 30)
        print(f"\nfrom the answer to POST revocations to the installed KRL: {took * 1000:.0f} ms, poll_seconds 5")
        path = f"revocations/{made['id']}/enforcement"
        wait_until(lambda: service.good("GET", path, service.operator)["enforcing"] == 1, 20)
        (item,) = service.good("GET", path, service.operator)["items"]
        assert (item["host"], item["node"]) == ("h1", "n1")
        print(f"as the service has it: {item['seconds']} s")
        service.stop()
        assert not enters(sshd, key, certificate)
        assert enters(sshd, other_key, other)
        wait_until(lambda: machine.tms_host("status").returncode == 1)  # the service cannot be asked, and that is said
        assert machine.status()["krl_version"] == item["krl_version"]
        # Whichever of the daemon's jobs was the first to find it away: this one does, too.
        wait_until(lambda: "trust stays as it was reason=" in machine.log, why=lambda: machine.log)


@contextmanager
def forged(directory: Path, machine: Machine, **settings: object):
    """Yield a Forger whose host this machine is."""
    with Forger(directory) as forger:
        forger.joined(machine.state)
        machine.config.parent.mkdir(parents=True)
        (machine.root / "run/tms-host").mkdir(parents=True)
        token = machine.config.parent / "token"
        token.touch(0o400)
        token.write_text("tms_h_" + "A" * 43)
        lines = {"url": forger.url, "tenant": "default", "host": "h1", "node": "n1", "token_file": token, "poll_seconds": 5,
                 "state_dir": machine.state, "run_dir": machine.root / "run/tms-host", **settings}  # fmt: skip
        machine.set(**lines)
        yield forger


@pytest.mark.parametrize(("policy", "opens"), [("refuse", False), ("keep", True)])
def test_G_08_a_bundle_that_ended_closes_or_leaves_the_door_as_configured(machine, tmp_path, policy, opens):
    with forged(tmp_path, machine, when_krl_stale=policy) as forger:
        ca = Authority(tmp_path, "userca")
        key, certificate = ca.issue("id", "alice")
        krl = forger.krl(6, 2000)
        forger.say(krl, 6)

        def short() -> tuple[int, bytes]:
            """Answer with a bundle that is good for a moment; it counts until the next look, which it is not there for."""
            text = forger.text(krl, 6, expires_at=stamp(time.time() + 4))
            return 200, json.dumps({"bundle": text, "signature": forger.sign(text)}).encode()

        forger.answers[TRUST] = short
        machine.start()
        with SandboxSshd(tmp_path / "sshd", ca.lines, revoked_keys=machine.state / "krl") as sshd:
            wait_until(lambda: (machine.state / "krl").read_bytes() == krl)
            assert enters(sshd, key, certificate)
            forger.answers[TRUST] = (503, b"{}")
            wait_until(lambda: machine.said("trust").get("stale"), 30, lambda: machine.log)
            if not opens:  # it knows that, and then it does it
                wait_until(lambda: "refusing all keys" in machine.log, why=lambda: machine.log)
            assert enters(sshd, key, certificate) is opens
            assert ((machine.state / "krl").read_bytes() == krl) is opens
            assert machine.tms_host("status").returncode == 1
            assert ("refusing all keys" in machine.log) is not opens
            forger.say(krl, 6)  # the service is back
            wait_until(lambda: not machine.said("trust")["stale"], 30, lambda: machine.log)
            assert enters(sshd, key, certificate)
            assert "trust is followed again" in machine.log


def in_place(directory: Path) -> dict[str, bytes]:
    """Return the daemon's files; at any moment there may be one beside them that it is about to put in place."""
    names = {path.name for path in directory.iterdir() if path.is_file()} - {"filler"}
    return {name: (directory / name).read_bytes() for name in names if not name.startswith(files._UNFINISHED)}


def test_G_08_a_full_disk_leaves_the_old_files_and_heals(machine, tmp_path):
    need_namespaces()
    with forged(tmp_path, machine) as forger:
        first, second = forger.krl(6, 2000), forger.krl(7, 2000, 3000)
        forger.say(first, 6)
        # A tmpfs over the state directory, for the daemon alone; what is in it is seen through /proc.
        script = (
            'cp -a "$0" "$0.old"; mount -t tmpfs -o size=64k,mode=755 tmpfs "$0"; cp -a "$0.old/." "$0/"; exec "$@"'
        )
        machine.start(prefix=(*UNSHARE, "sh", "-euc", script, str(machine.state)))
        seen = Path(f"/proc/{machine.pid}/root{machine.state}")
        wait_until(lambda: (seen / "krl").read_bytes() == first, why=lambda: machine.log)
        filler = (seen / "filler").open("wb", buffering=0)
        with filler, suppress(OSError):
            while filler.write(b"x" * 4096):
                pass
        before = in_place(seen)
        forger.say(second, 7)
        wait_until(lambda: "No space left" in machine.log, why=lambda: machine.log)
        assert in_place(seen) == before
        assert "cannot write" in machine.said("trust")["problem"]
        (seen / "filler").unlink()
        wait_until(lambda: (seen / "krl").read_bytes() == second, why=lambda: machine.log)
        wait_until(lambda: machine.said("trust")["problem"] is None)
        wait_until(lambda: {path.name for path in seen.iterdir() if path.is_file()} == set(before))


def test_a_krl_cut_short_on_its_way_is_not_installed(machine, tmp_path):
    with forged(tmp_path, machine) as forger, syslog(tmp_path) as log:
        first, second = forger.krl(6, 2000), forger.krl(7, 2000, 3000)
        forger.say(first, 6)
        machine.start(prefix=tuple(log.wrap()))
        wait_until(lambda: (machine.state / "krl").read_bytes() == first, why=log.lines)
        forger.say(second, 7)
        forger.answers[KRL] = (200, second[:-9])
        heard: list[str] = []

        def explained() -> bool:
            heard.extend(log.lines())
            return any("trust stays as it was reason=the KRL is not the one of the bundle" in line for line in heard)

        wait_until(explained, why=lambda: heard)
        assert (machine.state / "krl").read_bytes() == first
        assert machine.token not in "".join(heard)
        forger.say(second, 7)
        wait_until(lambda: (machine.state / "krl").read_bytes() == second, why=log.lines)


@pytest.mark.parametrize("seconds", [-300, 300])
def test_E_10_a_wrong_clock_is_reported(people, machine, seconds):
    service = people.service
    machine.join(service)
    machine.set(report_seconds=5)
    machine.start(**shifted(seconds))
    wait_until(lambda: "certificates begin and end at wrong times here" in machine.log, why=lambda: machine.log)
    assert f"clock is {'-' if seconds < 0 else '+'}" in machine.log

    def offset() -> int:
        return service.good("GET", "nodes", service.operator)["items"][0]["clock_offset_ms"] or 0

    wait_until(lambda: abs(offset() - seconds * 1000) < 3000, why=offset)
    # One sample that the machine was in the way of counts less with each that follows.
    wait_until(lambda: re.search(r"clock is [+-](299|300|301) s", machine.tms_host("status").stdout))


def test_E_10_a_right_clock_is_no_news(people, machine):
    machine.join(people.service)
    machine.start()
    wait_until(lambda: machine.said("report").get("sent_at"))
    assert "clock" not in machine.log
    done = machine.tms_host("status")
    assert "clock" not in done.stdout


def test_E_10_a_bundle_that_looks_ended_through_a_wrong_clock_is_refused_and_named(machine, tmp_path):
    with forged(tmp_path, machine) as forger:
        before = (machine.state / "krl").read_bytes()
        forger.say(forger.krl(6, 2000), 6)
        machine.start(**shifted(700))
        wait_until(lambda: "or a wrong clock" in machine.log, why=lambda: machine.log)
        assert (machine.state / "krl").read_bytes() == before
        machine.stop()
        machine.start()  # the twin: the same answer, a right clock
        wait_until(lambda: (machine.state / "krl").read_bytes() == forger.answers[KRL][1], why=lambda: machine.log)


@pytest.mark.parametrize(("seconds", "opens"), [(-300, False), (300, False), (-30, True), (30, True)])
def test_E_10_sshd_with_a_wrong_clock_refuses_what_is_too_early_or_too_late_for_it(
    tmp_path, monkeypatch, seconds, opens
):
    ca = Authority(tmp_path, "userca")

    def time_at(shift: int) -> str:
        return datetime.fromtimestamp(time.time() + shift, UTC).strftime("%Y%m%d%H%M%SZ")

    # Valid now for whoever has the right time: it began a minute ago and ends in four.
    short = ca.issue("short", "alice", validity=f"{time_at(-60)}:{time_at(240)}")
    long = ca.issue("long", "alice", validity=f"{time_at(-600)}:{time_at(3600)}")
    for name, value in shifted(seconds).items():
        monkeypatch.setenv(name, value)
    with SandboxSshd(tmp_path / "sshd", ca.lines) as sshd:
        monkeypatch.undo()
        assert in_the_end(sshd, lambda: enters(sshd, *short)) is opens
        assert opens or ("expired" if seconds > 0 else "not yet valid") in sshd.log
        assert in_the_end(sshd, lambda: enters(sshd, *long))
    with SandboxSshd(tmp_path / "twin", ca.lines) as sshd:  # a right clock
        assert enters(sshd, *short)
