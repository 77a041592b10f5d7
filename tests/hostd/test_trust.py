"""What the daemon believes and installs: a true bundle, and none of the lies; sshd never sees half of anything."""

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from keycmd import files, trustfile
from keycmd.config import load
from keycmd.hostd import report, trust
from keycmd.hostd.daemon import Daemon
from keycmd.service import ServiceError
from tests.hostd.forger import KRL, TRUST, Forger, stamp
from tests.hostd.machine import wait_until
from tests.patient import LONGEST

ROOT = Path(__file__).parents[2]
WRONG = (trustfile.TrustError, files.FilesError, ServiceError)


@dataclass
class Follower:
    """The daemon's part on a state directory, without its sockets."""

    forger: Forger
    state: Path
    daemon: Daemon

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.state.iterdir() if path.is_file()}


@pytest.fixture
def forger(tmp_path):
    with Forger(tmp_path) as made:
        yield made


def write_config(directory: Path, url: str, state: Path, **more: object) -> Path:
    token = directory / "token"
    if not token.exists():
        token.touch(0o600)
        token.write_text("tms_h_" + "A" * 43)
    lines = {"url": url, "tenant": "default", "host": "h1", "node": "n1", "token_file": token, "ca_file": "system",
             "poll_seconds": 5, "report_seconds": 5, "timeout_seconds": LONGEST, **more}  # fmt: skip
    path = directory / "host.conf"
    path.write_text("".join(f"{key} = {value}\n" for key, value in {**lines, "state_dir": state}.items()))
    return path


@pytest.fixture
async def follower(forger):
    # Not pytest's directory: host.conf takes paths that leave room for a socket's name.
    state = Path(tempfile.mkdtemp(prefix="tms"))
    forger.joined(state)
    config = write_config(forger.directory, forger.url, state)
    daemon = Daemon(str(config), load(str(config)))
    trust.register(daemon)
    report.register(daemon)
    yield Follower(forger, state, daemon)
    daemon.upstream.close()
    shutil.rmtree(state)


async def test_G_08_a_newer_bundle_is_installed_whole(follower):
    forger = follower.forger
    krl = forger.krl(6, 1000, 2000)
    forger.say(
        krl,
        6,
        user_ca_keys=[forger.key("user"), forger.key("user2")],
        host_ca_keys=[forger.key("host"), forger.key("host2")],
    )
    await follower.daemon.trust.look()
    found = follower.files()
    assert found["krl"] == krl
    assert found["user_ca.pub"].decode().split("\n") == [forger.key("user"), forger.key("user2"), ""]
    assert found["host_ca.pub"].decode().split("\n") == [forger.key("host"), forger.key("host2"), ""]
    assert json.loads(json.loads(found["trust.json"])["bundle"])["krl"]["version"] == "6"
    assert set(found) == {"krl", "user_ca.pub", "host_ca.pub", "trust.json"}
    assert all((follower.state / name).stat().st_mode & 0o7777 == 0o644 for name in found)
    assert follower.daemon.state["trust"]["krl_version"] == "6"


def changed(text: str) -> str:
    """Return the text with one byte of its KRL's digest changed."""
    at = text.index('"sha256":"') + 10
    return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]


def lies(forger):
    """Yield (name, what to do to make it a lie); the same without that is the truth of the twin."""
    krl = forger.krl(6, 1000, 2000)
    now = time.time()
    yield "older KRL version", lambda: forger.say(forger.krl(4), 4, epoch="9")
    yield "older epoch", lambda: forger.say(krl, 6, epoch="4")
    yield "older issued_at", lambda: forger.say(krl, 6, issued_at=stamp(now - 120))
    yield "ended", lambda: forger.say(krl, 6, expires_at=stamp(now - 1))
    yield "another tenant", lambda: forger.say(krl, 6, tenant="other")
    yield "another signer", lambda: forger.say(krl, 6, signer="thief")
    yield (
        "another signer who names himself",
        lambda: forger.say(krl, 6, signer="thief", host_ca_keys=[forger.key("thief")]),
    )
    yield "the user CA as signer", lambda: forger.say(krl, 6, signer="user")
    yield "another namespace", lambda: forger.say(krl, 6, namespace="file")
    text = forger.text(krl, 6)
    yield "a changed byte", lambda: forger.answer(changed(text), forger.sign(text), krl)
    yield "a signature of another text", lambda: forger.answer(text, forger.sign(forger.text(krl, 7)), krl)
    yield "no signature", lambda: forger.answer(text, "", krl)
    yield "a signature cut short", lambda: forger.answer(text, forger.sign(text)[:-60], krl)
    yield "a field more", lambda: forger.say(krl, 6, more="x")
    yield "a field less", lambda: forger.say(krl, 6, epoch=None)
    yield "a number for an epoch", lambda: forger.say(krl, 6, epoch=9)
    yield "another type", lambda: forger.say(krl, 6, type="tms-ca-trust/2")
    yield "no user CA keys", lambda: forger.say(krl, 6, user_ca_keys=[])
    yield "no host CA keys", lambda: forger.say(krl, 6, host_ca_keys=[])
    options = 'cert-authority,principals="root" ' + forger.key("user")
    yield "options before a key", lambda: forger.say(krl, 6, user_ca_keys=[options])
    yield (
        "a second line in a key",
        lambda: forger.say(krl, 6, user_ca_keys=[forger.key("user") + "\n" + forger.key("thief")]),
    )
    yield "a certificate for a key", lambda: forger.say(krl, 6, user_ca_keys=["ssh-ed25519-cert-v01@openssh.com AAAA"])
    yield "nine keys", lambda: forger.say(krl, 6, user_ca_keys=[forger.key("user")] * 9)

    def with_krl(body: bytes) -> None:
        forger.say(krl, 6)
        forger.answers[KRL] = (200, body)

    yield "a KRL cut short", lambda: with_krl(krl[:-7])
    yield "an empty KRL", lambda: with_krl(b"")
    yield "an older KRL", lambda: with_krl(forger.krl(5, 1000))
    yield "another KRL of the same length", lambda: with_krl(krl[:-1] + bytes([krl[-1] ^ 1]))
    yield "a KRL that does not load, signed", lambda: forger.say(krl[:-7], 6)
    yield "garbage for a KRL, signed", lambda: forger.say(b"garbage" * 20, 6)
    yield "an empty KRL, signed", lambda: forger.say(b"", 6)
    yield "a comment for a KRL, signed", lambda: forger.say(b"#" * 60 + b"\n", 6)
    yield "no KRL", lambda: (forger.say(krl, 6), forger.answers.update({KRL: (404, b"")}))
    for status, body in ((500, b"{}"), (404, b"{}"), (200, b""), (200, b"[]"), (200, b"{}"), (200, b'{"bundle":1,"signature":2}'),
                         (200, b"[" * 60000), (200, b'{"bundle":"' + b"[" * 30000 + b'","signature":""}'), (200, b"\xff")):  # fmt: skip
        yield f"{status} {body[:12]!r}", lambda status=status, body=body: forger.answers.update({TRUST: (status, body)})


async def test_G_08_no_lie_replaces_anything(follower):
    forger, before = follower.forger, follower.files()
    for name, lie in lies(forger):
        forger.answers.clear()
        lie()
        with pytest.raises(WRONG) as caught:
            await follower.daemon.trust.look()
        assert str(caught.value), name
        assert follower.files() == before, name
    forger.say(forger.krl(6, 1000, 2000), 6)  # the twin of all of them
    await follower.daemon.trust.look()
    assert follower.files()["krl"] == forger.answers[KRL][1]


async def test_a_bundle_that_was_seen_is_not_checked_by_its_text_alone(follower):
    """The answer of a moment ago, with the signature of somebody else."""
    forger = follower.forger
    krl = forger.krl(6)
    text = forger.text(krl, 6)
    forger.answer(text, forger.sign(text), krl)
    await follower.daemon.trust.look()
    forger.answer(text, forger.sign(text, "thief"), krl)
    with pytest.raises(trustfile.TrustError, match="not of a host CA key"):
        await follower.daemon.trust.look()


async def test_the_signer_follows_the_bundles(follower):
    """A next key is named by the present one, then signs; the one before is then nobody."""
    forger = follower.forger
    krl = forger.krl(6)
    forger.say(krl, 6, signer="next")
    with pytest.raises(trustfile.TrustError):
        await follower.daemon.trust.look()
    forger.say(krl, 6, host_ca_keys=[forger.key("host"), forger.key("next")])
    await follower.daemon.trust.look()
    forger.say(krl, 6, signer="next", host_ca_keys=[forger.key("next")])
    await follower.daemon.trust.look()
    forger.say(krl, 7, signer="host")
    with pytest.raises(trustfile.TrustError):
        await follower.daemon.trust.look()


async def test_a_revocation_between_bundle_and_krl_is_met_by_asking_again(follower):
    forger = follower.forger
    old, new = forger.krl(6, 1000), forger.krl(7, 1000, 2000)
    texts = [forger.text(old, 6), forger.text(new, 7)]
    said = [json.dumps({"bundle": text, "signature": forger.sign(text)}).encode() for text in texts]
    forger.answers = {TRUST: lambda: (200, said.pop(0) if len(said) > 1 else said[0]), KRL: (200, new)}
    await follower.daemon.trust.look()
    assert follower.files()["krl"] == new
    assert follower.daemon.state["trust"]["krl_version"] == "7"


@pytest.mark.parametrize("name", ["krl", "user_ca.pub"])
async def test_what_somebody_changed_here_is_mended(follower, name):
    forger = follower.forger
    krl = forger.krl(6, 1000)
    forger.say(krl, 6)
    await follower.daemon.trust.look()
    good = follower.files()
    (follower.state / name).write_bytes(b"")
    await follower.daemon.trust.look()
    assert follower.files() == good
    (follower.state / name).unlink()
    await follower.daemon.trust.look()
    assert follower.files() == good


async def test_without_a_known_signer_nothing_is_taken(follower):
    forger = follower.forger
    (follower.state / "host_ca.pub").write_bytes(b"")
    (follower.state / "trust.json").unlink()
    before = follower.files()
    forger.say(forger.krl(6), 6)
    with pytest.raises(trustfile.TrustError, match="no host CA key is known"):
        await follower.daemon.trust.look()
    assert follower.files() == before


async def test_a_broken_memory_is_said_and_nothing_is_taken(follower):
    forger = follower.forger
    (follower.state / "trust.json").write_bytes(b"{")
    forger.say(forger.krl(6), 6)
    with pytest.raises(trustfile.TrustError, match="join"):
        await follower.daemon.trust.look()


LOOP = """
import sys, json, itertools
sys.path.insert(0, sys.argv[1])
from keycmd import files, trustfile
from keycmd.hostd.trust import Paths, install
paths = Paths(sys.argv[2])
files.sweep(paths.directory)
made = [(trustfile.parse(a["bundle"], a["signature"], "default"), bytes.fromhex(a["krl"])) for a in json.load(open(sys.argv[3]))]
print("go", flush=True)
for bundle, krl in itertools.cycle(made):
    install(paths, bundle, krl)
"""


def test_G_08_a_kill_at_any_moment_leaves_the_old_or_the_new(forger, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    made = []
    for version in (6, 7):
        krl = forger.krl(version, *range(1000, 1000 + 400 * version, 2))
        text = forger.text(krl, version, user_ca_keys=[forger.key("user"), forger.key(f"user{version}")])
        made.append({"bundle": text, "signature": forger.sign(text), "krl": krl.hex()})
    (tmp_path / "made.json").write_text(json.dumps(made))
    krls = {bytes.fromhex(one["krl"]) for one in made}
    keys = {f"{forger.key('user')}\n{forger.key(f'user{version}')}\n" for version in (6, 7)}
    texts = {one["bundle"] for one in made}
    dice, seen = random.Random(7), set()
    for turn in range(50):
        command = [sys.executable, "-c", LOOP, ROOT, state, tmp_path / "made.json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        process.stdout.readline()
        if turn < 2:  # each of the two was there once, however slow the machine is
            wanted = bytes.fromhex(made[turn]["krl"])
            wait_until(lambda wanted=wanted: (state / "krl").exists() and (state / "krl").read_bytes() == wanted)
            wait_until((state / "trust.json").exists)
            seen.add(wanted)
        time.sleep(dice.uniform(0, 0.06))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert (state / "krl").read_bytes() in krls, turn
        assert (state / "user_ca.pub").read_text() in keys, turn
        assert json.loads((state / "trust.json").read_bytes())["bundle"] in texts, turn
        assert (
            subprocess.run(["ssh-keygen", "-Q", "-l", "-f", state / "krl"], capture_output=True, check=False).returncode
            == 0
        )
        seen.add((state / "krl").read_bytes())
    assert seen == krls
    files.sweep(str(state))
    assert {path.name for path in state.iterdir()} == {"krl", "user_ca.pub", "host_ca.pub", "trust.json"}
