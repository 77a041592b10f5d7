"""What goes wrong on the host itself or on the way to it: a full disk, a KRL cut short, a wrong clock. Nobody gets in who
should not, nobody else is kept out, the log says what is wrong, and it heals by itself."""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from tests.host.namespaces import need_namespaces
from tests.hostd.machine import Machine, shifted, wait_until
from tests.hostd.test_trust_real import in_place
from tests.hostd.whole_host import Relay, WholeHost
from tests.ssh.service import People, Service

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a sandboxed sshd with accounts needs root")


@pytest.fixture(scope="module")
def initialised(tmp_path_factory) -> Service:
    need_namespaces()
    made = Service(tmp_path_factory.mktemp("initialised") / "data")
    made.init()
    return made


@pytest.fixture
def people(initialised, tmp_path):
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


def fill(directory: Path) -> Path:
    """Leave no room in a directory's file system."""
    path = directory / "filler"
    with path.open("wb", buffering=0) as filler, suppress(OSError):
        for size in (4096, 1):
            with suppress(OSError):
                while filler.write(b"x" * size):
                    pass
    return path


def installed(directory: Path) -> dict[str, object]:
    """Return what the daemon has put in place; of trust.json, which is written at each look, what says which KRL it is."""
    found: dict[str, object] = dict(in_place(directory))
    found["trust.json"] = json.loads(json.loads(in_place(directory)["trust.json"])["bundle"])["krl"]
    return found


def test_G_08_on_a_full_disk_logins_go_on_and_a_revocation_counts_at_once(people, machine, tmp_path):
    with WholeHost(people, machine, tmp_path) as host:
        first, second = host.certificate(), host.certificate()
        assert host.enters(*first[:2])
        filler, before = fill(host.state), installed(host.state)
        host.revoke(first[2])
        assert not host.enters(*first[:2])  # the live question: no file had to be written
        assert host.enters(*second[:2])
        host.says("No space left")
        # What was there is there still, whole, and sshd can load it.
        assert installed(host.state) == before
        assert not host.listed(first[1])
        assert host.trust["problem"]
        assert host.enters(*second[:2])
        assert not host.enters(*first[:2])
        filler.unlink()
        wait_until(lambda: host.listed(first[1]), 30, lambda: machine.log[-3000:])
        wait_until(lambda: host.trust["problem"] is None)
        # No temporary file stays.
        wait_until(lambda: {path.name for path in host.state.iterdir() if path.is_file()} == set(before))
        # The service away: now the KRL alone decides about the revoked one, and the helper lets nobody in.
        people.service.stop()
        assert not host.enters(*first[:2])
        assert not host.enters(*second[:2])
        assert "revoked by file" in host.sshd.log


@pytest.mark.parametrize("tell_length", [True, False], ids=["with its own length", "broken off"])
def test_G_08_a_krl_cut_short_in_flight_is_never_installed(people, machine, tmp_path, tell_length):
    with (
        Relay(people.service.url, tell_length=tell_length) as relay,
        WholeHost(people, machine, tmp_path, url=relay.url) as host,
    ):
        first, second = host.certificate(), host.certificate()
        assert host.enters(*first[:2])
        before = (host.state / "krl").read_bytes()
        relay.spoil = lambda path, body: body[:-5] if path.endswith("/krl") else body
        relay.asked.clear()
        host.revoke(first[2])
        assert not host.enters(*first[:2])
        wait_until(lambda: any(path.endswith("/krl") for path in relay.asked), 30, lambda: machine.log[-3000:])
        host.says("trust stays as it was")
        wait_until(lambda: host.trust["problem"])
        assert (host.state / "krl").read_bytes() == before
        assert host.enters(*second[:2])  # a broken file would have shut everybody out
        relay.spoil = lambda _path, body: body
        wait_until(lambda: host.listed(first[1]), 40, lambda: machine.log[-3000:])
        assert not host.enters(*first[:2])
        assert host.enters(*second[:2])


@pytest.mark.parametrize(("seconds", "opens"), [(-300, False), (300, True), (0, True)])
def test_E_10_five_minutes_off(people, machine, tmp_path, seconds, opens):
    """Behind, a new certificate is not valid yet; ahead, one of an hour is; and the service says who is wrong."""
    clock = shifted(seconds) if seconds else {}
    with WholeHost(people, machine, tmp_path, clock=clock) as host:
        key, certificate, made = host.certificate()
        assert host.enters(key, certificate) is opens, host.sshd.log[-1500:]
        assert ("not yet valid" in host.sshd.log) is not opens
        if seconds:
            host.says("certificates begin and end at wrong times here")
        else:
            wait_until(lambda: host.trust.get("checked_at"))
            assert "wrong times" not in machine.log
        host.revoke(made)
        assert not host.enters(key, certificate)


def test_E_10_ahead_by_five_minutes_a_shorter_certificate_has_ended(people, machine, tmp_path):
    with WholeHost(people, machine, tmp_path, clock=shifted(300)) as host:
        key, certificate, _ = host.certificate(ttl_seconds=240)
        assert not host.enters(key, certificate)
        assert "expired" in host.sshd.log
        longer = host.certificate(ttl_seconds=3000)
        assert host.enters(*longer[:2])
