"""`when_away`: whom the daemon lets in while the service cannot be asked, and whom never."""

import signal
from types import SimpleNamespace

import pytest

from keycmd.hostd.answers import MOST_REMEMBERED, Remembered
from keycmd.service import Question
from tests.host.liar import Liar, answer
from tests.host.test_faults import LIES, true_answer
from tests.hostd.conftest import Service, until

YES = b"yes 1\nalice@h1\n"
AWAY = {
    "a server error": lambda q: answer(bound=q.bound, status="500 Internal Server Error"),
    "unavailable": lambda q: answer(b"{}", status="503 Service Unavailable", kind="application/problem+json"),
    "a gateway's page": lambda q: answer(b"<html>", status="502 Bad Gateway", kind="text/html"),
    "garbage": LIES["garbage"],
    "nothing": LIES["nothing"],
    "silence": LIES["silence"],
    "another question's answer": LIES["no binding"],
}
SAID_NO = {
    "a no": lambda _: answer(b'{"code":"expired"}', status="403 Forbidden", kind="application/problem+json"),
    "unauthorized": LIES["unauthorized"],
    "a proxy's no": LIES["forbidden by a proxy"],
    "not found": lambda _: answer(b"{}", status="404 Not Found", kind="application/problem+json"),
    "too many": lambda _: answer(b"{}", status="429 Too Many Requests", kind="application/problem+json"),
}


@pytest.mark.parametrize("case", [*AWAY, "down"])
def test_G_10_a_yes_stands_in_while_the_service_is_away(host, service, url, case):
    host.configure(url, when_away="cached 5", timeout_seconds="1")
    host.start()
    assert host.say(host.question()) == YES
    if case == "down":
        service.__exit__()
    service.reply = AWAY.get(case)
    assert host.say(host.question()) == YES
    assert "from=memory age=" in host.errors
    # The twins: another account, and the same host where nothing may be remembered.
    assert host.say(host.question("bob")).startswith(b"failed ")
    host.configure(url, timeout_seconds="1")
    host.processes[-1].send_signal(signal.SIGHUP)
    until(lambda: host.status()["when_away"] == "closed")
    assert host.say(host.question()).startswith(b"failed ")
    if case == "down":
        service.open(service.port)


@pytest.mark.parametrize("case", SAID_NO)
def test_G_10_an_answer_below_500_is_never_overruled(host, service, url, case):
    host.configure(url, when_away="cached 5")
    host.start()
    assert host.say(host.question()) == YES
    service.reply = SAID_NO[case]
    assert host.say(host.question()).partition(b" ")[0] in (b"no", b"failed")
    assert "from=memory" not in host.errors


@pytest.mark.parametrize("case", sorted(SAID_NO.keys() - {"too many"}))
def test_G_10_a_no_ends_what_was_remembered(host, service, url, case):
    host.configure(url, when_away="cached 5")
    host.start()
    assert host.say(host.question()) == YES
    service.reply = SAID_NO[case]
    host.say(host.question())
    service.reply = AWAY["nothing"]
    assert host.say(host.question()).startswith(b"failed ")
    service.reply = true_answer
    assert host.say(host.question()) == YES
    service.reply = AWAY["nothing"]
    assert host.say(host.question()) == YES


def test_G_10_a_yes_with_limited_uses_never_stands_in(host, service, url):
    host.configure(url, when_away="cached 5", sessions="pam")
    host.start()
    assert host.say(host.question()) == YES
    service.reply = lambda q: answer(bound=q.bound, extra="X-TMS-Uses: limited\r\n")
    assert host.say(host.question()) == YES
    service.reply = AWAY["nothing"]
    assert host.say(host.question()).startswith(b"failed ")


def test_a_host_that_tells_of_no_logins_takes_no_yes_with_limited_uses(host, service, url):
    host.configure(url, when_away="cached 5")
    host.start()
    assert host.say(host.question()) == YES
    service.reply = lambda q: answer(bound=q.bound, extra="X-TMS-Uses: limited\r\n")
    assert host.say(host.question()) == b"no uses_not_counted_here\n"
    assert "code=uses_not_counted_here" in host.errors
    service.reply = AWAY["nothing"]
    assert host.say(host.question()).startswith(b"failed ")


def test_G_10_closed_remembers_nothing(host, service, url):
    """Also not for a configuration that comes later."""
    host.configure(url)
    host.start()
    assert host.say(host.question()) == YES
    host.configure(url, when_away="cached 5")
    host.processes[-1].send_signal(signal.SIGHUP)
    until(lambda: host.status()["when_away"] == "cached 5")
    service.reply = AWAY["nothing"]
    assert host.say(host.question()).startswith(b"failed ")


def test_the_options_of_a_yes_stand_in_with_it(host, service, url):
    line = b'restrict,from="10.0.0.0/8" alice@h1\n'
    service.reply = lambda q: answer(line, bound=q.bound)
    host.configure(url, when_away="cached 5")
    host.start()
    assert host.say(host.question()) == b"yes 1\n" + line
    service.reply = AWAY["nothing"]
    assert host.say(host.question()) == b"yes 1\n" + line


def test_a_yes_that_a_no_overtook_is_not_remembered(host, service, url):
    """The service said yes, then no; the yes was the slower one on its way."""
    import threading

    said_no = threading.Event()

    def slow_yes(question):
        if question.body["nonce"] == service.questions[0].body["nonce"]:
            said_no.wait(10)
            return true_answer(question)
        return SAID_NO["a no"](question)

    service.reply = slow_yes
    host.configure(url, when_away="cached 5", timeout_seconds="20")
    host.start()
    said = []
    asking = threading.Thread(target=lambda: said.append(host.say(host.question())))
    asking.start()
    until(lambda: service.questions)
    assert host.say(host.question()) == b"no expired\n"
    said_no.set()
    asking.join()
    assert said == [YES]
    service.reply = AWAY["nothing"]
    assert host.say(host.question()).startswith(b"failed ")


@pytest.fixture
def question(made_certificate):
    return Question("alice", *made_certificate.split()[:2])


def test_a_yes_ages_by_whichever_clock_says_more(question):
    for now, steady, found in [
        (1059, 59, True),
        (1060, 59, False),
        (1059, 60, False),
        (900, 59, True),
        (900, 60, False),
    ]:
        remembered = Remembered()
        remembered.keep(question, ["alice@h1"], 1000, 0)
        assert bool(remembered.find(question, 1, now, steady)) is found, (now, steady)


def test_a_certificate_that_has_ended_is_not_let_in(question):
    from keycmd.unverified import Unverified

    end = Unverified(question.certificate).valid_before
    for now, found in [(end - 1, True), (end, False)]:
        remembered = Remembered()
        remembered.keep(question, ["alice@h1"], end - 10, 0)
        assert bool(remembered.find(question, 5, now, 10)) is found


def test_one_that_cannot_be_read_is_not_let_in(question):
    other = SimpleNamespace(account="alice", certificate="ssh-ed25519-cert-v01@openssh.com AAAA")
    remembered = Remembered()
    remembered.keep(question, ["alice@h1"], 1000, 0)
    remembered.keep(other, ["alice@h1"], 1000, 0)
    assert remembered.find(other, 5, 1000, 0) is None
    assert remembered.find(question, 5, 1000, 0) == (["alice@h1"], 0)


def test_no_more_are_remembered_than_is_said(question):
    remembered = Remembered()
    for number in range(MOST_REMEMBERED + 1):
        remembered.keep(SimpleNamespace(account=f"a{number}", certificate="x"), [], 0, 0)
    remembered.keep(question, ["alice@h1"], 0, 0)
    assert len(remembered) == MOST_REMEMBERED
    assert remembered.find(question, 5, 0, 0)


def test_a_second_address_answers_where_the_first_is_away(host, service, url):
    with Liar(AWAY["unavailable"]) as first:
        host.configure(f"http://127.0.0.1:{first.port}", url)
        host.start()
        assert host.say(host.question()) == YES
    assert host.say(host.question()) == YES
    assert len(service.questions) == 2
    # The twin: when the second says no, nobody else is asked.
    service.reply = SAID_NO["a no"]
    with Service(true_answer) as third:
        host.configure(url, f"http://127.0.0.1:{third.port}")
        host.processes[-1].send_signal(signal.SIGHUP)
        until(lambda: "read again" in host.errors)
        assert host.say(host.question()) == b"no expired\n"
        assert third.questions == []
