"""One line of syslog a call says who, which certificate, what came of it and why; nothing in it can pose as another."""

import re
import subprocess

import pytest

from tests.host.conftest import TOKEN
from tests.host.liar import Liar, answer
from tests.host.namespaces import syslog
from tests.host.test_faults import true_answer

AUTHPRIV = 10  # the facility's number in RFC 5424
INFO, NOTICE, ERROR = 6, 5, 3
ABOUT = (
    r"host=h1 account=alice certificate=SHA256:[A-Za-z0-9+/]{43}"
    r" serial=7 key_id=t=default;c=portal;u=alice;r=0190-a user=alice client=portal"
)


@pytest.fixture
def ask(helper, tmp_path):
    """Ask a service that replies so; return the one line of syslog as (severity, text)."""
    with syslog(tmp_path) as log:

        def run(reply, account="alice", **config):
            with Liar(reply) as service:
                path = helper.configure(f"http://127.0.0.1:{service.port}", **config)
                kind, blob = helper.certificate.split()[:2]
                arguments = [*helper.command(), "--config", path, account, kind, blob]
                done = subprocess.run(log.wrap(*arguments), capture_output=True, check=False, timeout=120)
            (line,) = log.lines()
            found = re.fullmatch(r"<(\d+)>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d tms-principals\[\d+\]: (.*)", line)
            assert found, line
            assert int(found[1]) // 8 == AUTHPRIV
            assert TOKEN not in line
            assert done.stderr == b""
            return int(found[1]) % 8, found[2]

        yield run


def test_a_yes(ask):
    severity, text = ask(true_answer)
    assert severity == INFO
    assert re.fullmatch(rf"allowed {ABOUT} principals=alice@h1", text)


def test_a_yes_with_options(ask):
    _, text = ask(lambda q: answer(b'restrict,from="10.0.0.0/8" alice@h1\nb@h1\n', bound=q.bound))
    assert re.fullmatch(rf"allowed {ABOUT} principals=alice@h1,b@h1 restricted=yes", text)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"code":"certificate_revoked"}', "certificate_revoked"),
        (b'{"title": "no", "code": "expired", "status": 403}', "expired"),
        (b'{"code":"x principals=root"}', "refused"),
        (b'{"code":"' + b"a" * 65 + b'"}', "refused"),
        (b'{"code":7}', "refused"),
        (b'{"code":"unfinished', "refused"),
        (b"{}", "refused"),
    ],
)
def test_a_no_with_its_code(ask, body, code):
    severity, text = ask(lambda _: answer(body, status="403 Forbidden", kind="application/problem+json"))
    assert severity == NOTICE
    assert re.fullmatch(rf"refused {ABOUT} code={code}", text)


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (lambda q: answer(bound=q.bound.replace("alice", "root")), "the answer belongs to another question"),
        (
            lambda q: answer(b"{}", status="401 Unauthorized"),
            r"the service does not take this host's credential \(401\): tms-host join again",
        ),
        (
            lambda q: q.socket.recv(1) and None,
            "no answer in time: .+|waiting for the answer: timed out",
        ),
    ],
)
def test_a_fault_with_its_reason(ask, lie, reason):
    severity, text = ask(lie, timeout_seconds="30" if "no answer" not in reason else "1")
    assert severity == ERROR
    assert re.fullmatch(rf"failed {ABOUT} reason=({reason})", text)


def test_a_configuration_fault_names_file_line_and_key(ask):
    severity, text = ask(true_answer, timeout_seconds="soon")
    assert severity == ERROR
    assert re.search(r"reason=/\S+/host\.conf line \d+: timeout_seconds is 'soon'", text)


@pytest.mark.parametrize(
    "account",
    ["alice\nAccepted publickey for root", "a account=root", "a\x1b[2J", "é" * 20, "a" * 5000, "$(id)"],
)
def test_G_04_a_hostile_account_forges_nothing(ask, account):
    severity, text = ask(true_answer, account)
    assert severity == ERROR
    assert re.fullmatch(
        r"failed host=h1 account=[A-Za-z0-9._@+:=?-]{1,64} reason=the account's name is not one .*", text
    )
