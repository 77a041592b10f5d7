"""The helper against a service that lies: it prints nothing and fails, also when the truth comes too late."""

import fcntl
import os
import subprocess

import pytest

from tests.host.liar import Liar, Question, answer

LATE = 10.0  # beyond the time of whoever asks one that is silent


def true_answer(question: Question) -> bytes:
    return answer(bound=question.bound)


def test_the_truth_is_printed(helper):
    with Liar(true_answer) as service:
        helper.configure(f"http://127.0.0.1:{service.port}")
        ran = helper.ask()
    assert (ran.status, ran.out) == (0, b"alice@h1\n")
    head = service.questions[0].head
    assert head.startswith("POST /api/v1/tenants/default/hosts/h1/principals HTTP/1.1\r\n")
    assert "Authorization: Bearer tms_h_" in head
    assert service.questions[0].body["account"] == "alice"


def test_headers_of_a_proxy_do_not_disturb(helper):
    extra = "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nVia: 1.1 proxy\r\nServer:\r\n"
    with Liar(lambda q: answer(bound=q.bound, extra=extra)) as service:
        helper.configure(f"http://127.0.0.1:{service.port}")
        ran = helper.ask()
    assert (ran.status, ran.out) == (0, b"alice@h1\n")


def test_a_clean_no_prints_nothing_and_is_not_a_failure(helper):
    problem = b'{"type":"urn:tms:problem:certificate_revoked","status":403,"code":"certificate_revoked"}'
    with Liar(lambda _: answer(problem, status="403 Forbidden", kind="application/problem+json")) as service:
        helper.configure(f"http://127.0.0.1:{service.port}")
        ran = helper.ask()
    assert (ran.status, ran.out) == (0, b"")


@pytest.mark.parametrize(("sessions", "printed"), [("off", b""), ("pam", b"alice@h1\n"), ("wrapper", b"")])
def test_uses_are_for_hosts_that_tell_of_every_login(helper, sessions, printed):
    with Liar(lambda q: answer(bound=q.bound, extra="X-TMS-Uses: limited\r\n")) as service:
        helper.configure(f"http://127.0.0.1:{service.port}", sessions=sessions)
        ran = helper.ask()
    assert (ran.status, ran.out) == (0, printed)


def _gave_up(question: Question, seconds: float) -> bool:
    """Wait until the helper gives up, but for no longer than this; tell whether it did."""
    question.socket.settimeout(seconds)
    try:
        return not question.socket.recv(1)
    except TimeoutError:
        return False


def _silent(question: Question) -> bytes | None:
    """Tell the truth at last: whoever still waits lets somebody in."""
    return None if _gave_up(question, LATE) else true_answer(question)


def _half_a_head_then_silence(question: Question) -> bytes | None:
    said = true_answer(question)
    question.socket.sendall(said[:35])
    return None if _gave_up(question, LATE) else said[35:]


def _drip(question: Question) -> None:
    said = true_answer(question)
    for at in range(len(said)):
        question.socket.sendall(said[at : at + 1])
        if _gave_up(question, 0.4):
            return


def _swap(text: str, at: int, other: str) -> str:
    parts = text.split(" ")
    parts[at] = other
    return " ".join(parts)


LIES = {
    "no binding": lambda q: answer(),
    "another nonce": lambda q: answer(bound=_swap(q.bound, 0, "0" * 32)),
    "an empty nonce": lambda q: answer(bound=_swap(q.bound, 0, "")),
    "another account": lambda q: answer(bound=_swap(q.bound, 1, "root")),
    "another certificate": lambda q: answer(bound=_swap(q.bound, 2, "SHA256:" + "A" * 43)),
    "two bindings": lambda q: answer(bound=q.bound, extra=f"X-TMS-Answer: {q.bound}\r\n"),
    "short body": lambda q: answer(bound=q.bound, length=100),
    "long body": lambda q: answer(bound=q.bound, length=3),
    "no length": lambda q: answer(bound=q.bound, length=-1),
    "negative length": lambda q: answer(bound=q.bound, length=-2),
    "two lengths": lambda q: answer(bound=q.bound, extra="Content-Length: 9\r\n"),
    "chunked": lambda q: answer(
        b"9\r\nalice@h1\n\r\n0\r\n\r\n", bound=q.bound, extra="Transfer-Encoding: chunked\r\n", length=-1
    ),
    "redirect": lambda q: answer(bound=q.bound, status="302 Found", extra="Location: http://127.0.0.1:1/\r\n"),
    "created": lambda q: answer(bound=q.bound, status="201 Created"),
    "server error": lambda q: answer(bound=q.bound, status="500 Internal Server Error"),
    "unavailable": lambda q: answer(b"{}", status="503 Service Unavailable", kind="application/problem+json"),
    "unauthorized": lambda q: answer(b"{}", status="401 Unauthorized", kind="application/problem+json"),
    "forbidden by a proxy": lambda q: answer(b"<html>", status="403 Forbidden", kind="text/html"),
    "not http": lambda q: b"SSH-2.0-OpenSSH_9.2\r\n",
    "http 1.0": lambda q: true_answer(q).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "garbage": lambda q: bytes(range(256)) * 20,
    "nothing": lambda q: b"",
    "json instead": lambda q: answer(b'{"principals":["alice@h1"]}', bound=q.bound, kind="application/json"),
    "html": lambda q: answer(b"<html></html>", bound=q.bound, kind="text/html"),
    "the truth as html": lambda q: answer(bound=q.bound, kind="text/html"),
    "the truth without a type": lambda q: true_answer(q).replace(b"Content-Type", b"X-Type"),
    "bad head line": lambda q: answer(bound=q.bound, extra="nonsense\r\n"),
    "header with a blank": lambda q: answer(bound=q.bound, extra="X-A : 1\r\n"),
    "empty list": lambda q: answer(b"", bound=q.bound),
    "empty line": lambda q: answer(b"\n", bound=q.bound),
    "empty line between": lambda q: answer(b"alice@h1\n\nbob@h1\n", bound=q.bound),
    "carriage return": lambda q: answer(b"alice@h1\r\n", bound=q.bound),
    "comment": lambda q: answer(b"alice@h1#x\n", bound=q.bound),
    "star": lambda q: answer(b"*\n", bound=q.bound),
    "comma": lambda q: answer(b"alice@h1,root@h1\n", bound=q.bound),
    "another option": lambda q: answer(b'environment="A=b" alice@h1\n', bound=q.bound),
    "an option that says who": lambda q: answer(b'principals="root" alice@h1\n', bound=q.bound),
    "a command with a comment": lambda q: answer(b'command="id #" alice@h1\n', bound=q.bound),
    "tab": lambda q: answer(b"alice@h1\t\n", bound=q.bound),
    "nul": lambda q: answer(b"alice@h1\0\n", bound=q.bound),
    "not ascii": lambda q: answer("älice@h1\n".encode(), bound=q.bound),
    "leading dash": lambda q: answer(b"-alice@h1\n", bound=q.bound),
    "129 characters": lambda q: answer(b"a" * 129 + b"\n", bound=q.bound),
    "257 lines": lambda q: answer(b"alice@h1\n" * 257, bound=q.bound),
    "a megabyte": lambda q: answer(b"alice@h1\n" * 120_000, bound=q.bound),
    "no line feed at the end": lambda q: answer(b"alice@h1", bound=q.bound),
    "a bare line feed in the head": lambda q: answer(bound=q.bound, extra="X-A: 1\nX-B: 2\r\n"),
    "a control character in the head": lambda q: answer(bound=q.bound + "\x1f"),
    "a folded header": lambda q: answer(bound=q.bound, extra="X-A: 1\r\n 2\r\n"),
    "two content types": lambda q: answer(bound=q.bound, extra="Content-Type: text/html\r\n"),
    "both a length and chunks": lambda q: answer(bound=q.bound, extra="Transfer-Encoding: chunked\r\n"),
    "two answers": lambda q: true_answer(q) * 2,
    "a second answer first": lambda q: b"HTTP/1.1 100 Continue\r\n\r\n" + true_answer(q),
    "a head without end": lambda q: answer(bound=q.bound, extra="X-A: " + "a" * 20_000 + "\r\n"),
    "more than 64 KiB in 256 lines": lambda q: answer((b"a" * 300 + b"\n") * 250, bound=q.bound),
    "a good line and a bad one": lambda q: answer(b"alice@h1\nbob h1\n", bound=q.bound),
    "silence": _silent,
    "half a head, then silence": _half_a_head_then_silence,
    "a byte at a time": _drip,
}


SILENT = {"silence", "half a head, then silence", "a byte at a time"}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.replace(" ", "-"))
def test_G_01_a_lie_prints_nothing_and_fails(helper, lie):
    with Liar(LIES[lie]) as service:
        helper.configure(f"http://127.0.0.1:{service.port}", timeout_seconds="1.0" if lie in SILENT else "30")
        ran = helper.ask()
    assert service.questions or lie in SILENT, "the helper never asked"
    assert (ran.status, ran.out) == (1, b""), lie


def test_G_01_nobody_listens(helper):
    with Liar(true_answer) as service:
        pass
    helper.configure(f"http://127.0.0.1:{service.port}")
    ran = helper.ask()
    assert (ran.status, ran.out) == (1, b"")


def test_G_03_the_most_that_is_printed(helper):
    """256 lines are taken, one more is refused (above)."""
    lines = b"".join(b"p%d@h1\n" % n for n in range(256))
    with Liar(lambda q: answer(lines, bound=q.bound)) as service:
        helper.configure(f"http://127.0.0.1:{service.port}")
        ran = helper.ask()
    assert (ran.status, ran.out) == (0, lines)


def test_an_output_that_nobody_takes_is_a_failure(helper, tmp_path):
    kind, blob = helper.certificate.split()[:2]
    with Liar(true_answer) as service, open("/dev/full", "wb") as full:
        helper.configure(f"http://127.0.0.1:{service.port}")
        command = [*helper.command(), "--config", tmp_path / "host.conf", "alice", kind, blob]
        status = subprocess.run(command, stdout=full, stderr=subprocess.DEVNULL, check=False).returncode
    assert status == 1


def test_an_output_that_is_taken_in_part_is_a_failure(helper, tmp_path):
    """sshd must not take the first page of an answer for all of it."""
    kind, blob = helper.certificate.split()[:2]
    lines = b"".join(b"%0100d@h1\n" % n for n in range(256))
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    with Liar(lambda q: answer(lines, bound=q.bound)) as service:
        helper.configure(f"http://127.0.0.1:{service.port}")
        command = [*helper.command(), "--config", tmp_path / "host.conf", "alice", kind, blob]
        status = subprocess.run(command, stdout=writing, stderr=subprocess.DEVNULL, check=False).returncode
    os.close(writing)
    os.close(reading)
    assert status == 1


def test_a_closed_output_is_a_failure(helper, tmp_path):
    kind, blob = helper.certificate.split()[:2]
    with Liar(true_answer) as service:
        helper.configure(f"http://127.0.0.1:{service.port}")
        command = [*helper.command(), "--config", tmp_path / "host.conf", "alice", kind, blob]
        status = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], check=False).returncode
    assert status == 1
