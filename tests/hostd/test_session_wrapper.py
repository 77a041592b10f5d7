"""The forced wrapper under a real sshd without PAM: the session is what it would have been, or none at all."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.host.sshd import Authority, keygen
from tests.hostd.session_host import SessionHost
from tests.hostd.session_service import Scripted, refusal, scripted
from tests.hostd.test_session_pam import TOKEN, Place, end_client, typed, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
PRINT = (
    "tr '\\0' '\\n' </proc/self/environ; grep -E '^Sig(Blk|Ign)' /proc/self/status; cat /proc/$$/cmdline | tr '\\0' ' '"
)


def forced(authority: Authority, name: str, command: str) -> tuple[Path, Path]:
    """Make a key whose certificate forces a command."""
    key = authority.directory / name
    keygen("-t", "ed25519", "-N", "", "-f", key)
    keygen("-s", authority.key, "-I", name, "-n", "alice@h1", "-z", "8", "-V", "-1m:+1h", "-O", f"force-command={command}",
           Path(f"{key}.pub"))  # fmt: skip
    return key, Path(f"{key}-cert.pub")


@contextmanager
def furnished(service: Scripted, **more: object) -> Iterator[Place]:
    directory = Path(tempfile.mkdtemp(prefix="tms-wrapper-"))
    directory.chmod(0o755)
    (directory / "other").mkdir()
    ours, theirs = Authority(directory), Authority(directory / "other")
    keygen("-t", "ed25519", "-N", "", "-f", directory / "plain")
    (directory / "trusted.pub").write_text(ours.lines + theirs.lines)
    lines = (f"TrustedUserCAKeys {directory}/trusted.pub", "AuthorizedKeysFile /run/principals/keys_%u")
    try:
        options = {"mode": "wrapper", "sshd_lines": lines, **more}
        with SessionHost(directory / "host", f"http://127.0.0.1:{service.port}", TOKEN, ours.lines, **options) as host:
            host.run("cp", str(directory / "plain.pub"), "/run/principals/keys_alice")
            alice, stranger = ours.issue("alice", "alice@h1"), theirs.issue("stranger", "alice@h1")
            yield Place(host, service, ours, alice, directory / "plain", stranger)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with scripted() as service, furnished(service) as place:
        yield place


@pytest.fixture(autouse=True)
def anew(place: Place) -> None:
    place.service.forget()


def test_a_yes_opens_every_way(place):
    assert all(place.ways().values()), (place.ways(), place.host.log[-3000:], place.host.daemon_log)


def test_a_no_opens_no_session_but_cannot_see_forwarding_without_one(place):
    place.service.verdict = refusal()
    ways = place.ways()
    assert not any(ways[way] for way in ("shell", "terminal", "command", "sftp")), ways
    # The documented limit: sshd runs no command for ssh -N, so that nothing asks.
    assert ways["local forward"]
    assert ways["remote forward"]
    assert "code=certificate_revoked" in place.host.ssh(*place.alice, "echo in").stderr


def test_the_login_is_told_once_for_a_connection_and_closed(place, tmp_path):
    options = (f"ControlPath={tmp_path}/c",)
    master = subprocess.Popen(
        place.host.ssh_command(*place.alice, "echo in; exec sleep 60", options=(*options, "ControlMaster=yes")),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert master.stdout.readline() == b"in\n"
        assert place.host.ssh(*place.alice, "echo in", options=options).stdout == "in\n"
    finally:
        end_client(master)
        master.stdout.close()
    names = {login["login_id"] for login in place.service.opened}
    assert len(names) == 1
    wait_for(lambda: names <= dict(place.service.ended).keys())
    assert dict(place.service.ended)[names.pop()]["reason"] == "closed"


def test_the_session_is_what_it_would_have_been(place):
    """Environment, signals and command line, with the wrapper and without it."""
    with scripted() as service, furnished(service, mode="bare") as bare:
        without = bare.host.ssh(*bare.alice, PRINT).stdout
    within = place.host.ssh(*place.alice, PRINT).stdout
    differing = ("SSH_CLIENT=", "SSH_CONNECTION=", "SSH_USER_AUTH=", "SSH_ORIGINAL_COMMAND=", "PWD=")
    kept = [[line for line in text.splitlines() if not line.startswith(differing)] for text in (without, within)]
    assert sorted(kept[0]) == sorted(kept[1])
    assert len(kept[0]) > 5
    assert "SSH_ORIGINAL_COMMAND=" in within
    status = place.host.ssh(*place.alice, "exit 7").returncode
    assert status == 7
    killed = place.host.ssh(*place.alice, "kill -9 $$").returncode
    assert killed in {137, 255}  # some shells stay between sshd and the wrapper, and make a status of a signal
    shell = typed(place.host.ssh_command(*place.alice, flags=("-tt",)), "echo [$0]; exit 3\n")
    assert ("[-sh]" in shell[1], shell[0]) == (True, 3)


@pytest.mark.parametrize("way", ["command", "shell", "terminal", "sftp", "second session"])
def test_a_forced_command_of_the_certificate_cannot_be_escaped(place, way, tmp_path):
    key, certificate = forced(place.authority, f"forced-{way.split()[0]}", "echo only $((40+2)) $SSH_ORIGINAL_COMMAND")
    command = place.host.ssh_command(key, certificate)
    words = {"command": ["echo in"], "shell": [], "terminal": ["-tt"], "sftp": [], "second session": ["echo in"]}[way]
    if way == "sftp":
        command = [*command[:-1], "-s", command[-1], "sftp"]
    elif way == "terminal":
        command = [*command[:-1], "-tt", command[-1]]
    elif way == "second session":
        command = [
            *command[:-1],
            "-o",
            "ControlMaster=auto",
            "-o",
            f"ControlPath={tmp_path}/c",
            "-o",
            "ControlPersist=5",
            command[-1],
        ]
        subprocess.run([*command, *words], capture_output=True, timeout=300, check=False, stdin=subprocess.DEVNULL)
        command += words
    else:
        command += words
    done = subprocess.run(
        command, input="echo has-$((90+9)); exit\n", capture_output=True, text=True, timeout=300, check=False
    )
    assert "only 42" in done.stdout, (done, place.host.log[-2000:])
    assert "in\n" not in done.stdout.replace("only 42 echo in\n", "")
    assert "has-99" not in done.stdout
    free = place.host.ssh(*place.alice, "echo in")
    assert free.stdout == "in\n"


def test_sshd_itself_would_have_ignored_it(place):
    """Why the wrapper must do it: a ForceCommand of sshd_config is above the certificate's."""
    lines = ("ForceCommand echo config",)
    with scripted() as service, furnished(service, mode="bare", sshd_lines=lines) as bare:
        key, certificate = forced(bare.authority, "ignored", "echo only")
        assert bare.host.ssh(key, certificate, "echo in").stdout == "config\n"


def test_a_command_that_the_service_forces_is_run_in_every_session_of_the_connection(place, tmp_path):
    place.service.more = {"force_command": "echo service"}
    options = (f"ControlPath={tmp_path}/c", "ControlMaster=auto", "ControlPersist=600")
    try:
        assert place.host.ssh(*place.alice, "echo in", options=options).stdout == "service\n"
        place.service.more = {}  # the service says it once
        assert place.host.ssh(*place.alice, "echo in", options=options).stdout == "service\n"
    finally:
        place.host.ssh(*place.alice, options=options, flags=("-O", "exit"))
    assert place.host.ssh(*place.alice, "echo in").stdout == "in\n"
    key, certificate = forced(place.authority, "both", "echo certificate")
    place.service.more = {"force_command": "echo service"}
    assert place.host.ssh(key, certificate, "echo in").stdout == ""
    place.service.more = {"force_command": "echo certificate"}
    assert place.host.ssh(key, certificate, "echo in").stdout == "certificate\n", place.host.daemon_log


def test_keys_without_a_certificate_need_a_word_of_the_administrator(place):
    """Their command= in authorized_keys is lost under a ForceCommand, so that they are refused unless told otherwise."""
    refused = place.host.ssh(place.plain, None, "echo in")
    assert (refused.stdout, "--plain-keys" in refused.stderr) == ("", True)
    assert place.host.ssh(*place.stranger, "echo in").stdout == ""
    with scripted() as service, furnished(service, wrap="--wrap --plain-keys") as open_place:
        assert open_place.host.ssh(open_place.plain, None, "echo in").stdout == "in\n"
        assert open_place.host.ssh(*open_place.stranger, "echo in").stdout == "in\n"
        assert service.opened == []
        service.verdict = refusal()
        assert open_place.host.ssh(*open_place.alice, "echo in").stdout == ""


def test_without_exposed_authentication_nobody_gets_in(place):
    lines = ("ExposeAuthInfo no",)
    with scripted() as service, furnished(service, sshd_lines=lines) as blind:
        done = blind.host.ssh(*blind.alice, "echo in")
        assert (done.stdout, "ExposeAuthInfo" in done.stderr) == ("", True)


def test_nobody_can_speak_for_another_connection(place):
    """A user's own program may talk to the socket: it gets no second name, no other account and no other process."""
    talk = (
        "import socket,sys\n"
        "def ask(line):\n"
        "    s=socket.socket(socket.AF_UNIX); s.connect('/run/tms-host/session.sock'); s.sendall(line.encode())\n"
        "    return s.makefile().read().strip()\n"
        "import os; sys.path.insert(0, {lib!r})\n"
        "from keycmd.session import login_id\n"
        "kind, text = open(os.environ['SSH_USER_AUTH']).read().split()[1:3]\n"
        "parent = os.getppid()\n"
        "while open('/proc/%d/comm' % parent).read() not in ('sshd\\n', 'sshd-session\\n'):\n"
        "    parent = int(open('/proc/%d/stat' % parent).read().rpartition(') ')[2].split()[1])\n"
        "own, me = login_id(parent), os.getpid()\n"
        "above = int(open('/proc/%d/stat' % parent).read().rpartition(') ')[2].split()[1])\n"
        "print(ask('open %s alice %d - %s %s\\n' % (own, parent, kind, text)))\n"
        "print(ask('open %s alice %d - %s %s\\n' % ('0'*32, parent, kind, text)))\n"
        "print(ask('open %s bob %d - %s %s\\n' % (own, parent, kind, text)))\n"
        "print(ask('open %s alice %d - %s %s\\n' % (login_id(me), me, kind, text)))\n"
        "print(ask('open %s alice %d - %s %s\\n' % (login_id(above), above, kind, text)))\n"
        "print(ask('open %s alice %d - %s %s\\n' % (own, parent, kind, {other!r})))\n"
        "print(ask('close %s\\n' % own))\n"
    ).format(
        lib=str(place.host.prefix / "lib/tms-host"),
        other=place.authority.issue("another", "alice@h1")[1].read_text().split()[1],
    )
    script = place.host.directory / "talk.py"
    script.write_text(talk)
    script.chmod(0o644)
    done = place.host.ssh(*place.alice, f"/usr/bin/python3 -I {script}")
    said = done.stdout.splitlines()
    assert len(said) == 7, done
    assert said[0] == "yes", said
    assert [line.split()[0] for line in said[1:]] == ["failed"] * 6, said
    assert {login["certificate"] for login in place.service.opened} == {
        " ".join(place.alice[1].read_text().split()[:2])
    }
    assert len({login["login_id"] for login in place.service.opened}) == 1


def test_nobody_can_speak_for_another_account():
    """By a plain key, no wrapper has announced the connection before."""
    with scripted() as service, furnished(service, wrap="--wrap --plain-keys") as place:
        kind, text = place.alice[1].read_text().split()[:2]
        talk = (
            "import os, socket, sys\n"
            f"sys.path.insert(0, '{place.host.prefix}/lib/tms-host')\n"
            "from keycmd.session import login_id\n"
            "from keycmd.wrapper import connection\n"
            "s = socket.socket(socket.AF_UNIX)\n"
            "s.connect('/run/tms-host/session.sock')\n"
            f"line = 'open %s %s %d - {kind} {text}\\n' % (login_id(connection()), sys.argv[1], connection())\n"
            "s.sendall(line.encode())\n"
            "print(s.makefile().read().strip())\n"
        )
        (place.host.directory / "talk.py").write_text(talk)
        (place.host.directory / "talk.py").chmod(0o644)
        said = place.host.ssh(place.plain, None, f"/usr/bin/python3 -I {place.host.directory}/talk.py bob")
        assert (said.stdout.strip(), service.opened) == ("failed uid 61110 is not account bob", []), said
        said = place.host.ssh(place.plain, None, f"/usr/bin/python3 -I {place.host.directory}/talk.py alice")
        assert (said.stdout.strip(), len(service.opened)) == ("yes", 1), said


def test_a_startup_file_of_the_user_goes_round_it(place):
    """The documented limit: sshd starts the wrapper by the user's own shell. PAM has no such hole."""
    with scripted() as service, furnished(service, shell="/bin/bash") as bash:
        service.verdict = refusal()
        assert bash.host.ssh(*bash.alice, "echo in").stdout == ""
        bash.host.run(
            "sh", "-c", "echo 'echo round; exit' >/run/home/alice/.bashrc; chown alice /run/home/alice/.bashrc"
        )
        assert "round" in bash.host.ssh(*bash.alice, "echo in").stdout
