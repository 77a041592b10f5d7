"""tms-keycmd against a service that lies, alone and with the daemon: it prints the true line, or nothing."""

import subprocess
import threading

import pytest

from tests.host.liar import answer
from tests.keys.conftest import EXPIRY, PYTHONS, bound
from tests.patient import LONGEST

NO = b'{"status":403,"code":"public_key_expired"}'


def text(line: str, **more):
    """Return what answers with this line; {public} is the true key, {other} another."""
    return lambda q, names: answer(line.format(**names).encode(), bound=bound(q), **more)


def other_bound(at: int, value: str):
    def reply(q, names):
        words = bound(q).split(" ")
        words[at] = value
        return answer(f"restrict {names['public']}\n".encode(), bound=" ".join(words))

    return reply


LIES = {
    "another key": text("restrict {other}\n"),
    "another key beside the true one": text("restrict {public}\nrestrict {other}\n"),
    "without restrict": text("{public}\n"),
    "without options": text('from="10.0.0.0/8" {public}\n'),
    "restrict behind another option": text("pty,restrict {public}\n"),
    "an unknown option": text('restrict,environment="LD_PRELOAD=/tmp/x" {public}\n'),
    "a tunnel": text('restrict,tunnel="0" {public}\n'),
    "the same word twice": text("restrict,pty,pty {public}\n"),
    "two commands": text('restrict,command="a",command="b" {public}\n'),
    "a command that ends its quote": text('restrict,command="a\\" b" {public}\n'),
    "a command with a comment": text('restrict,command="a #" {public}\n'),
    "from nowhere": text('restrict,from="" {public}\n'),
    "from a pattern": text('restrict,from="*" {public}\n'),
    "an expiry that is none": text('restrict,expiry-time="never" {public}\n'),
    "principals": text('restrict,principals="alice" {public}\n'),
    "a CA": text('cert-authority,principals="alice" {public}\n'),
    "a CA without principals": text("cert-authority {public}\n"),
    "a CA behind restrict": text("restrict,cert-authority {public}\n"),
    "a comment": text("restrict {public} alice@laptop\n"),
    "a comment line": text("# hello\nrestrict {public}\n"),
    "another type": text("restrict ssh-rsa {blob}\n"),
    "a certificate's type": text("restrict ssh-ed25519-cert-v01@openssh.com {blob}\n"),
    "half the key": text("restrict ssh-ed25519 {half}\n"),
    "padding": text("restrict {public}=\n"),
    "a carriage return": text("restrict {public}\r\n"),
    "two blanks": text("restrict  {public}\n"),
    "a blank before": text(" restrict {public}\n"),
    "no line feed": text("restrict {public}"),
    "an empty line": text("\n"),
    "nothing": text(""),
    "257 lines": lambda q, names: answer(f"restrict {names['public']}\n".encode() * 257, bound=bound(q)),
    "a megabyte": lambda q, names: answer(f"restrict {names['public']}\n".encode() * 12000, bound=bound(q)),
    "no binding": lambda _, names: answer(f"restrict {names['public']}\n".encode()),
    "another nonce": other_bound(0, "0" * 32),
    "another account": other_bound(1, "root"),
    "another fingerprint": other_bound(2, "SHA256:" + "A" * 43),
    "a page": text("restrict {public}\n", kind="text/html"),
    "created": text("restrict {public}\n", status="201 Created"),
    "an error": text("restrict {public}\n", status="500 Internal Server Error"),
    "a proxy's no": text("<html>", status="403 Forbidden", kind="text/html"),
    "a truth that is cut": text("restrict {public}\n", length=200),
}


@pytest.fixture
def names(pair, other):
    blob = pair.public.split(" ")[1]
    return {"public": pair.public, "other": other.public, "blob": blob, "half": blob[:40]}


def test_the_true_line_is_printed(asked, service):
    ran = asked.ask()
    assert (ran.status, ran.out.decode()) == (0, asked.line + "\n")
    question = service.questions[-1]
    assert question.head.startswith("POST /api/v1/tenants/default/hosts/h1/keys HTTP/1.1\r\n")
    assert question.body["account"] == "alice"
    assert question.body["key_type"] == "ssh-ed25519"


def test_every_option_of_the_grammar_is_printed(asked, service, pair):
    line = (
        "restrict,pty,port-forwarding,agent-forwarding,X11-forwarding,user-rc,"
        'from="10.0.0.0/8,2001:db8::/32",command="/bin/echo a, b=c",permitopen="a:1",permitopen="[::1]:2",'
        f"{EXPIRY} {pair.public}"
    )
    service.reply = lambda q: answer(f"{line}\n".encode(), bound=bound(q))
    assert asked.ask().out.decode() == line + "\n"


@pytest.mark.parametrize("lie", LIES)
def test_G_03_a_lie_prints_nothing(asked, service, names, lie):
    service.reply = lambda q: LIES[lie](q, names)
    ran = asked.ask()
    assert (ran.status, ran.out) == (1, b"")
    service.reply = asked.truth
    assert asked.ask().out


def test_a_clean_no_is_no_failure(asked, service):
    service.reply = lambda _: answer(NO, status="403 Forbidden", kind="application/problem+json")
    ran = asked.ask()
    assert (ran.status, ran.out) == (0, b"")
    service.reply = asked.truth
    assert asked.ask().out


def test_a_plain_key_is_never_remembered(host, service):
    host.configure(f"http://127.0.0.1:{service.port}", when_away="cached 5", timeout_seconds=LONGEST)
    host.start()
    assert host.ask().out
    service.reply = lambda _: answer(b"{}", status="503 Service Unavailable", kind="application/problem+json")
    assert (host.ask().status, host.ask().out) == (1, b"")


@pytest.mark.parametrize("kind", ["ssh-ed25519-cert-v01@openssh.com", "ssh-rsa-cert-v01@openssh.com", "ssh-dss", "x"])
def test_what_is_not_for_it_is_left_alone(asked, service, pair, kind):
    ran = asked.keycmd("alice", "1000", pair.fingerprint, kind)
    assert (ran.status, ran.out) == (0, b"")
    assert not service.questions
    assert asked.ask().out


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("alice", "1000", "{f}"),
        ("alice", "1000", "{f}", "ssh-ed25519", "more"),
        ("alice", "x", "{f}", "ssh-ed25519"),
        ("Alice", "1000", "{f}", "ssh-ed25519"),
        ("alice;id", "1000", "{f}", "ssh-ed25519"),
        ("alice\nbob", "1000", "{f}", "ssh-ed25519"),
        ("../x", "1000", "{f}", "ssh-ed25519"),
        ("", "1000", "{f}", "ssh-ed25519"),
        ("alice", "1000", "MD5:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff", "ssh-ed25519"),
        ("alice", "1000", '{f}","account":"root', "ssh-ed25519"),
        ("alice", "1000", "", "ssh-ed25519"),
    ],
)
def test_G_04_arguments_that_cannot_be_are_asked_about_nowhere(asked, service, pair, words):
    ran = asked.keycmd(*(word.replace("{f}", pair.fingerprint) for word in words))
    assert (ran.status, ran.out) == (1, b"")
    assert not service.questions
    assert asked.ask().out


def test_G_02_a_service_that_says_nothing_is_not_waited_for(asked, service):
    """It tells the truth at last, when nobody waits for it any more; the twin of a second is one of half a minute."""
    over = threading.Event()  # for whoever had one second

    def late(question):
        over.wait(60)
        service.closing.wait(2)
        return asked.truth(question)

    service.reply = late
    for seconds in ("1", LONGEST):
        asked.configure(f"http://127.0.0.1:{service.port}", timeout_seconds=seconds)
        if asked.processes:
            asked.stop()
            asked.start()
        ran = asked.ask()
        over.set()
        assert (ran.status, bool(ran.out)) == ((1, False) if seconds == "1" else (0, True))


def test_a_ca_is_passed_on_only_where_the_host_wants_it_and_trusts_it(asked, service, pair, other):
    line = f'cert-authority,principals="alice@h1,alice" {other.public}'
    service.reply = lambda q: answer(f"{line}\n".encode(), bound=bound(q))
    trusted = asked.directory / "state" / "user_ca.pub"
    trusted.write_text(f"{other.public} a comment\n")
    assert (asked.ask().status, asked.ask().out) == (1, b"")
    asked.configure(f"http://127.0.0.1:{service.port}", timeout_seconds=LONGEST, ca_lines="yes")
    if asked.processes:
        asked.stop()
        asked.start()
    assert asked.ask().out.decode() == line + "\n"
    for bad in (f"cert-authority {other.public}", f'cert-authority,principals="" {other.public}',
                f'cert-authority,principals="*" {other.public}', f'cert-authority,principals="a",pty,pty {other.public}',
                f'restrict,cert-authority,principals="a" {other.public}'):  # fmt: skip
        service.reply = lambda q, bad=bad: answer(f"{bad}\n".encode(), bound=bound(q))
        assert (asked.ask().status, asked.ask().out) == (1, b""), bad
    service.reply = lambda q: answer(f"{line}\n".encode(), bound=bound(q))
    trusted.write_text(f"{pair.public}\n")
    assert (asked.ask().status, asked.ask().out) == (1, b"")


@pytest.mark.parametrize("python", PYTHONS)
def test_both_run_on_the_oldest_python_too(host, service, python):
    assert host.ask(python=python).out.decode() == host.line + "\n"
    host.start(python=python)
    assert host.ask(python=python).out.decode() == host.line + "\n"
    assert "allowed host=h1 account=alice key=SHA256:" in host.errors
    service.reply = lambda _: answer(NO, status="403 Forbidden", kind="application/problem+json")
    assert host.ask(python=python).out == b""


def test_a_daemon_that_lies_is_not_believed(host, service, other):
    """Whoever holds the socket cannot bring in another key."""
    import socket

    path = str(host.directory / "run" / "ask.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve():
            for line in (f"restrict {other.public}", host.line):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(f"yes 1\n{line}\n".encode())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert (host.ask().status, host.ask().out.decode()) == (1, host.line + "\n")
        thread.join(60)


def test_an_old_sshd_gets_no_expiry(host, service, pair):
    """The daemon leaves it out for an OpenSSH that cannot read it; `ssh -V` says which it is."""
    done = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True)
    assert done.stderr.startswith("OpenSSH_")
    from keycmd.hostd.keys import old
    from keycmd.keylines import without_expiry

    assert [old(v) for v in ("OpenSSH_8.0p1", "OpenSSH_9.0", "OpenSSH_7.4p1", "OpenSSH_9.1p1", "OpenSSH_10.0p2",
                             "OpenSSH_for_Windows_8.1", "unknown", "")] == [True] * 3 + [False] * 5  # fmt: skip
    assert without_expiry(host.line) == f"restrict,pty {pair.public}"
    assert without_expiry(f"restrict {pair.public}") == f"restrict {pair.public}"
