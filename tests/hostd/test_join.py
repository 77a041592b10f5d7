"""tms-host join, rotate, leave and status against the real service: what is written, and what is left when it fails."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.host.namespaces import UNSHARE, need_namespaces
from tests.hostd.machine import PYTHONS, Machine, copied, invite, shifted
from tests.ssh.service import Service


@pytest.fixture(scope="module")
def initialised(tmp_path_factory):
    made = Service(tmp_path_factory.mktemp("initialised") / "data")
    made.init()
    return made


@pytest.fixture
def service(initialised, tmp_path):
    made = copied(initialised, tmp_path)
    yield made
    made.stop()


@pytest.fixture
def machine():
    with Machine() as made:
        yield made


def works(service, token: str) -> bool:
    """Tell whether the service takes this host credential."""
    answer = service.call("GET", "nodes", f"Bearer {token}")
    assert answer.status in (200, 401), answer
    return answer.status == 200


@pytest.mark.parametrize("python", PYTHONS)
def test_a_join_writes_every_file_with_its_mode_and_nothing_else(service, python):
    with Machine(python=python) as machine:
        old = os.umask(0o077)  # an administrator's umask has no say
        try:
            done = machine.join(service)
        finally:
            os.umask(old)
        found = machine.files()
        state = "var/lib/tms-host"
        certificates = {
            f"{state}/host-certs/ssh_host_{kind}_key{end}.pub" for kind in ("ed25519", "ecdsa") for end in ("", "-cert")
        }
        readable = {"etc/tms/host.conf", *certificates}
        readable |= {f"{state}/{name}" for name in ("user_ca.pub", "host_ca.pub", "krl", "trust.json")}
        assert set(found) == readable | {"etc/tms/token"}
        assert {name: mode for name, (_, mode, _) in found.items()} == dict.fromkeys(readable, 0o644) | {
            "etc/tms/token": 0o400
        }
        assert (machine.state).stat().st_mode & 0o7777 == 0o755
        ca = service.call("GET", "ca/user.pub").body.split()[:2]
        assert found[f"{state}/user_ca.pub"][0].split() == ca
        assert found[f"{state}/krl"][0] == service.call("GET", "krl").body
        assert works(service, machine.token)
        assert hashlib.sha256(machine.token.encode()).hexdigest() not in done.stdout
        assert machine.token not in done.stdout + done.stderr
        shown = subprocess.run(["ssh-keygen", "-L", "-f", machine.root / f"{state}/host-certs/ssh_host_ed25519_key-cert.pub"],
                               capture_output=True, text=True, check=True).stdout  # fmt: skip
        assert "host certificate" in shown
        assert re.findall(r"^ {16}([a-z0-9.]+)$", shown, re.MULTILINE) == ["h1", "h1.example.org", "login.example.org"]


def test_sshd_takes_the_lines_that_a_join_prints(service, machine, tmp_path):
    out = machine.join(service).stdout
    lines = out[out.index("TrustedUserCAKeys") :].partition("\n\n")[0]
    assert f"AuthorizedPrincipalsCommand {machine.root}/usr/libexec/tms/tms-principals %u %t %k\n" in lines
    keys = "".join(f"HostKey {machine.root}/etc/ssh/ssh_host_{kind}_key\n" for kind in ("ed25519", "ecdsa"))
    config = tmp_path / "sshd_config"
    for text, good in ((lines, True), (lines.replace("RevokedKeys", "RevokedKeyz"), False)):
        config.write_text(keys + text)
        done = subprocess.run(["/usr/sbin/sshd", "-t", "-f", config], capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is good, done.stderr
    assert "Could not load host certificate" not in done.stderr


def test_a_host_key_that_nobody_certifies_is_left_out(service, machine):
    for bits, kind in ((2048, "old"), (3072, "rsa")):
        path = machine.root / f"etc/ssh/ssh_host_{kind}_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", str(bits), "-N", "", "-f", path], check=True)
    out = machine.join(service).stdout
    assert "left out      ssh_host_old_key" in out
    assert "ssh_host_old_key-cert.pub" not in out
    assert "ssh_host_rsa_key-cert.pub" in out
    for path in (machine.root / "etc/ssh").glob("*.pub"):
        path.write_text("ssh-ed25519\n")
    refused = machine.tms_host("join", service.url, invite(service)["join_token"])
    assert refused.returncode == 1
    assert "does not hold a public key" in refused.stderr


def test_a_token_joins_once(service, machine):
    invited = invite(service)
    assert machine.tms_host("join", service.url, "-", stdin=invited["join_token"] + "\n").returncode == 0
    before = machine.files()
    again = machine.tms_host("join", service.url, invited["join_token"])
    assert again.returncode == 1
    assert "the service refused" in again.stderr
    assert machine.files() == before
    assert works(service, machine.token)
    with Machine() as other:
        assert other.tms_host("join", service.url, invited["join_token"]).returncode == 1
        assert other.files() == {}


def test_another_service_than_the_pinned_one_changes_nothing(service, machine):
    invited = invite(service)
    wrong = "SHA256:" + "A" * 43
    refused = machine.tms_host("join", service.url, invited["join_token"], "--host-ca", wrong)
    assert refused.returncode == 1
    assert invited["host_ca_fingerprints"][0] in refused.stderr  # what it is instead
    assert "ask for another" in refused.stderr
    assert machine.files() == {}
    right = invited["host_ca_fingerprints"][0]
    again = invite(service)["join_token"]
    assert machine.tms_host("join", service.url, again, "--host-ca", wrong, "--host-ca", right).returncode == 0


def test_a_second_join_that_fails_leaves_the_old_credential_and_one_that_succeeds_ends_it(service, machine):
    machine.join(service)
    before, old = machine.files(), machine.token
    token = invite(service)["join_token"]
    failed = machine.tms_host("join", service.url, token, "--name", "n1", "--host-ca", "SHA256:" + "A" * 43)
    assert failed.returncode == 1
    assert "goes on with its old credential" in failed.stderr
    assert machine.files() == before
    asked = {"account": "alice", "certificate": "ssh-ed25519-cert-v01@openssh.com AAAA", "nonce": "00"}
    path = "hosts/h1/principals"
    assert works(service, old)
    assert service.call("POST", path, f"Bearer {old}", asked).status == 400  # the credential is taken
    machine.join(service)
    assert machine.token != old
    assert works(service, machine.token)
    assert not works(service, old)
    assert service.call("POST", path, f"Bearer {old}", asked).status == 401


def test_a_machine_with_other_host_keys_says_whether_it_is_the_same(service, machine):
    machine.join(service)
    with Machine() as other:
        token = invite(service)["join_token"]
        refused = other.tms_host("join", service.url, token, "--name", "n1")
        assert refused.returncode == 1
        assert "--name NODE" in refused.stderr
        assert other.files() == {}
        assert works(service, machine.token)
        assert other.tms_host("join", service.url, token, "--name", "n1", "--replace").returncode == 0
        assert works(service, other.token)
    assert not works(service, machine.token)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("{url}", "tms_h_" + "A" * 43), "tms_j_"),
        (("{url}", "tms_j_" + "A" * 43), "refused"),
        (("http://example.org", "{token}"), "plain http"),
        (("{url}/x", "{token}"), "expected https://NAME"),
        (("http://127.0.0.1:1", "{token}"), "cannot be asked"),
        (("{url}", "{token}", "--name", "-x"), "--name"),
        (("{url}", "{token}", "--host-ca", "MD5:x"), "--host-ca"),
        (("{url}", "{token}", "--ca-file", "/nonexistent"), "/nonexistent"),
        (("{url} {url}", "{token}"), "one twice"),
    ],
)
def test_what_cannot_work_is_said_before_the_token_is_used(service, machine, words, said):
    token = invite(service)["join_token"]
    filled = [word.format(url=service.url, token=token) for word in words]
    refused = machine.tms_host("join", *filled[:2], *(["=".join(filled[2:])] if filled[2:] else []))
    assert refused.returncode == 1, refused
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert machine.files() == {}
    assert machine.tms_host("join", service.url, token).returncode == 0  # its twin: the same token, nothing wrong


@pytest.mark.parametrize("seconds", [-300, 300])
def test_E_10_a_wrong_clock_is_said_before_the_token_is_used(service, machine, seconds):
    token = invite(service)["join_token"]
    machine.environment = shifted(seconds)
    begun = time.monotonic()
    refused = machine.tms_host("join", service.url, token)
    took = time.monotonic() - begun  # of which a part lies between the service's look at the clock and the machine's
    assert refused.returncode == 1
    said = re.search(r"clock is ([+-]\d+) s from the service's", refused.stderr)
    assert said, refused.stderr
    assert abs(int(said[1]) - seconds) <= 1 + took / 2
    assert machine.files() == {}
    machine.environment = {}
    assert machine.tms_host("join", service.url, token).returncode == 0


def test_a_full_disk_is_said_before_the_token_is_used(service, machine):
    need_namespaces()
    token = invite(service)["join_token"]
    machine.state.mkdir(parents=True)
    script = 'mount -t tmpfs -o size=64k tmpfs "$0"; head -c 60000 /dev/zero >"$0/filler"; exec "$@"'
    refused = machine.tms_host("join", service.url, token, prefix=(*UNSHARE, "sh", "-euc", script, str(machine.state)))
    assert refused.returncode == 1
    assert "No space left" in refused.stderr
    assert machine.files() == {}
    assert machine.tms_host("join", service.url, token).returncode == 0


def test_joining_again_replaces_and_keeps_what_the_administrator_set(service, machine):
    machine.join(service)
    first = machine.token
    machine.set(when_away="cached 5", poll_seconds=60)
    machine.join(service)
    assert machine.token != first
    assert works(service, machine.token)
    assert not works(service, first)
    text = machine.config.read_text()
    machine.set(poll_secs=60)
    assert "cannot be kept" in machine.tms_host("join", service.url, invite(service)["join_token"]).stderr
    assert text.count("when_away = cached 5\n") == text.count("poll_seconds = 60\n") == text.count("url = ") == 1


def test_rotating_replaces_the_credential_while_the_daemon_runs(service, machine):
    machine.join(service)
    machine.start()
    first = machine.token
    assert machine.tms_host("rotate").returncode == 0
    assert machine.token != first
    assert works(service, machine.token)
    assert not works(service, first)
    assert (machine.root / "etc/tms/token").stat().st_mode & 0o7777 == 0o400
    machine.tms_host("status")
    assert "answered 401" not in machine.log
    assert machine.said("configuration") == {"reads": 2}


def test_a_daemon_that_does_not_read_its_configuration_keeps_its_credential(service, machine):
    machine.join(service)
    machine.start()
    first = machine.token
    machine.set_time("keycmd/admin/daemon.py", "SECONDS", 0.5)
    os.kill(machine.pid, signal.SIGSTOP)
    try:
        refused = machine.tms_host("rotate")
    finally:
        os.kill(machine.pid, signal.SIGCONT)
        machine.set_time("keycmd/admin/daemon.py", "SECONDS", 60.0)
    assert refused.returncode == 1
    assert f"the daemon (pid {machine.pid}) does not answer" in refused.stderr
    assert "the old one still works: run this again" in refused.stderr
    assert machine.token != first
    assert works(service, first)
    assert machine.tms_host("rotate").returncode == 0
    assert not works(service, first)
    assert works(service, machine.token)


def test_rotating_without_the_service_leaves_the_old_credential(service, machine):
    machine.join(service)
    before = machine.files()
    service.stop()
    refused = machine.tms_host("rotate")
    assert refused.returncode == 1
    assert "The old credential stays in use" in refused.stderr
    assert machine.files() == before
    service.start()
    assert works(service, machine.token)


def test_leaving_takes_the_credential_back_and_names_what_remains(service, machine):
    machine.join(service)
    machine.start()
    token = machine.token
    snippet = machine.root / "etc/ssh/sshd_config.d/50-tms.conf"
    snippet.parent.mkdir()
    snippet.write_text(f"# a comment about /etc/tms\nRevokedKeys {machine.state}/krl\nPermitRootLogin no\n")
    done = machine.tms_host("leave")
    assert done.returncode == 0, done.stderr
    # sshd still names the KRL, and would take no key at all without it.
    assert set(machine.files()) == {"var/lib/tms-host/krl"}
    assert f"{machine.state}/krl stays" in done.stdout
    assert not works(service, token)
    assert f"{snippet}:2: RevokedKeys" in done.stdout
    assert "PermitRootLogin" not in done.stdout
    assert "still runs" not in done.stdout
    assert not machine.running
    assert snippet.exists()
    assert machine.tms_host("status").returncode == 1
    snippet.unlink()
    assert machine.tms_host("leave", "--force").returncode == 0
    assert machine.files() == {}


def test_leaving_without_the_service_needs_force(service, machine):
    machine.join(service)
    before = machine.files()
    service.stop()
    refused = machine.tms_host("leave")
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert machine.files() == before
    assert machine.tms_host("leave", "--force").returncode == 0
    assert machine.files() == {}


def sshd_config(machine, text: str) -> Path:
    path = machine.root / "etc/ssh/sshd_config"
    keys = "".join(f"HostKey {machine.root}/etc/ssh/ssh_host_{kind}_key\n" for kind in ("ed25519", "ecdsa"))
    path.write_text(text.format(root=machine.root) + keys)
    return path


def test_the_lines_are_written_for_an_sshd_that_takes_them(service, machine):
    sshd_config(machine, "Include {root}/etc/ssh/sshd_config.d/*.conf\n")
    out = machine.join(service, "h1", "--write-sshd").stdout
    snippet = machine.root / "etc/ssh/sshd_config.d/50-tms.conf"
    assert str(snippet) in out
    assert snippet.stat().st_mode & 0o7777 == 0o644
    assert f"RevokedKeys {machine.state}/krl\n" in snippet.read_text()


@pytest.mark.parametrize(
    ("text", "said", "written"),
    [
        ("NoSuchWord yes\n", "does not take these lines", False),
        ("Include {root}/etc/ssh/other/*.conf\n", "takes no notice", True),
    ],
)
def test_lines_that_sshd_would_not_take_are_said(service, machine, text, said, written):
    sshd_config(machine, text)
    token = invite(service)["join_token"]
    done = machine.tms_host("join", service.url, token, "--write-sshd")
    assert done.returncode == 1
    assert said in done.stderr
    assert (machine.root / "etc/ssh/sshd_config.d/50-tms.conf").exists() is written


def test_status_says_what_is_wrong(service, machine):
    machine.join(service)
    stopped = machine.tms_host("status")
    assert stopped.returncode == 1
    assert "tms-hostd does not run" in stopped.stdout
    machine.start()
    well = machine.tms_host("status")
    assert well.returncode == 1 or "all is well" in well.stdout
    (machine.state / "user_ca.pub").write_text("")
    assert "user_ca.pub is not what the service signed" in machine.tms_host("status").stdout


@pytest.fixture
def secure(initialised, tmp_path):
    """The service over TLS, with a CA of its own."""
    service = Service(tmp_path / "data", operator=initialised.operator)
    shutil.copytree(initialised.data, service.data)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", service.data / "tls.key",
         "-out", service.data / "tls.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    settings = service.data / "settings.toml"
    settings.write_text(
        settings.read_text().replace("[listen]", '[listen]\ntls_certificate = "tls.pem"\ntls_key = "tls.key"')
    )
    service.wait_until_ready = lambda: None
    service.start()
    yield service
    service.stop()


def test_a_join_over_tls_keeps_the_ca_and_refuses_another(secure, machine):
    added = secure.tms_ca("hosts", "create", "h1", check=False)
    pem = secure.data / "tls.pem"
    if added.returncode:
        pytest.fail(added.stderr)
    invited = secure.tms_ca("hosts", "invite", "h1")
    token = re.search(r"tms_j_[A-Za-z0-9_-]+", invited.stdout)[0]
    for words in ((), ("--ca-file=/etc/ssl/certs/ca-certificates.crt",)):
        refused = machine.tms_host("join", secure.url, token, *words)
        assert refused.returncode == 1
        assert "CERTIFICATE_VERIFY_FAILED" in refused.stderr or "/etc/ssl" in refused.stderr
        assert machine.files() == {}
    done = machine.tms_host("join", secure.url, token, "--ca-file", str(pem))
    assert done.returncode == 0, done.stderr
    assert (machine.root / "etc/tms/service-ca.pem").read_bytes() == pem.read_bytes()
    assert f"ca_file = {machine.root}/etc/tms/service-ca.pem\n" in machine.config.read_text()
