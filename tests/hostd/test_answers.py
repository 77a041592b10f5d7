"""`when_away`: whom the daemon lets in while the service cannot be asked, and whom never."""

import signal
from types import SimpleNamespace

import pytest

from keycmd.config import load
from keycmd.hostd import answers as module
from keycmd.hostd.announce import Announcer
from keycmd.hostd.answers import ABOUT_ONE_CERTIFICATE, ABOUT_ONE_KEY, MOST_REMEMBERED, Answers, Remembered
from keycmd.hostd.upstream import Upstream
from keycmd.service import Question, Refused, ServiceError
from tests.host.liar import Liar, answer
from tests.host.test_faults import LIES, true_answer
from tests.hostd.conftest import Service, until
from tests.patient import LONGEST
from tms_ca.core.facts import DenialReason

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


def read_again(host):
    """Let the daemon read its configuration."""
    before = host.errors.count("read again")
    host.processes[-1].send_signal(signal.SIGHUP)
    until(lambda: host.errors.count("read again") > before)


@pytest.mark.parametrize("case", [*AWAY, "down"])
def test_G_10_a_yes_stands_in_while_the_service_is_away(host, service, url, case):
    seconds = "1" if case == "silence" else LONGEST
    host.configure(url, when_away="cached 5")
    host.start()
    assert host.say(host.question()) == YES
    host.configure(url, when_away="cached 5", timeout_seconds=seconds)
    read_again(host)
    if case == "down":
        service.__exit__()
    service.reply = AWAY.get(case)
    assert host.say(host.question()) == YES
    assert "from=memory age=" in host.errors
    # The twins: another account, and the same host where nothing may be remembered.
    assert host.say(host.question("bob")).startswith(b"failed ")
    host.configure(url, timeout_seconds=seconds)
    read_again(host)
    assert host.status()["when_away"] == "closed"
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


def said(code):
    return lambda _: answer(b'{"code":"%s"}' % code.encode(), status="403 Forbidden", kind="application/problem+json")


@pytest.mark.parametrize("code", ["host_disabled", "user_revoked", "tenant_disabled", "a_code_of_tomorrow"])
def test_G_10_a_no_to_one_that_may_be_about_all_ends_what_was_remembered(host, service, url, code):
    host.configure(url, when_away="cached 5")
    host.start()
    assert host.say(host.question()) == host.say(host.question("bob")) == YES
    service.reply = said(code)
    assert host.say(host.question("bob")) == f"no {code}\n".encode()
    service.reply = AWAY["nothing"]
    assert host.say(host.question()).startswith(b"failed ")


def test_G_10_a_no_to_a_plain_key_counts_too(host, service, url):
    host.configure(url, when_away="cached 5")
    host.start()
    key = b"keys alice SHA256:" + b"A" * 43 + b" ssh-ed25519\n"
    for code, remembered in (("public_key_unknown", 1), ("host_disabled", 0)):
        assert host.say(host.question()) == YES
        service.reply, service.answered = said(code), (b"/keys HTTP/1.1",)
        assert host.say(key) == f"no {code}\n".encode()
        service.reply, service.answered = true_answer, Service.answered
        assert host.status()["remembered"] == remembered


@pytest.mark.parametrize("code", sorted(ABOUT_ONE_CERTIFICATE))
def test_a_no_about_one_certificate_ends_only_what_was_said_of_it(code):
    answers = Answers(SimpleNamespace())
    for account, certificate in (("alice", "t one"), ("bob", "t one"), ("alice", "t other")):
        answers._remembered.keep(SimpleNamespace(account=account, certificate=certificate), [], 0, 0)
    asked = SimpleNamespace(account="carol", certificate="t one")
    answers.refused(asked, code)
    assert list(answers._remembered._answers) == [("alice", "t other")]
    answers.refused(asked, "user_revoked")  # the twin
    assert len(answers._remembered) == 0


@pytest.mark.parametrize(("code", "left"), [("host_disabled", 0), ("certificate_revoked", 1)])
async def test_G_10_a_no_to_a_session_counts_too(host, service, url, question, code, left):
    config = load(str(host.configure(url, when_away="cached 5", sessions="pam")))
    daemon = SimpleNamespace(config=config, upstream=Upstream(config))
    daemon.answers = Answers(daemon)
    daemon.answers._remembered.keep(question, [], 0, 0)
    daemon.answers._remembered.keep(SimpleNamespace(account="bob", certificate="t other"), [], 0, 0)
    service.reply, service.answered = said(code), (b"/logins HTTP/1.1",)
    session = SimpleNamespace(
        login_id="0" * 32, account="alice", certificate=question.certificate, started_at="2026-01-01T00:00:00Z"
    )
    with pytest.raises(Refused, match=code):
        await Announcer(daemon, None, None).permission(session, None)
    daemon.upstream.close()
    assert len(daemon.answers._remembered) == left


def test_the_codes_are_those_of_the_service():
    elsewhere = {"uses_not_counted_here"}  # a host's own
    assert {*ABOUT_ONE_CERTIFICATE, *ABOUT_ONE_KEY} - elsewhere <= {str(reason) for reason in DenialReason}


class Quiet:
    """The daemon's way to a service that says nothing, or no; `asked` is for how many seconds each question was asked."""

    def __init__(self):
        self.asked, self.says_no = [], False

    async def call(self, _method, _path, _body, _accept, seconds, *, most):
        self.asked.append(seconds)
        if self.says_no:
            return 403, {"content-type": "application/problem+json"}, b'{"code":"expired"}'
        raise ServiceError("no answer in time")


async def test_a_silent_service_costs_one_whole_timeout_and_is_still_asked(question, monkeypatch):
    clock = SimpleNamespace(time=lambda: 1000, monotonic=lambda: steady)
    monkeypatch.setattr(module, "time", clock)
    steady, upstream = 100.0, Quiet()
    config = SimpleNamespace(tenant="default", host="h1", timeout=4.0, away_minutes=5)
    answers = Answers(SimpleNamespace(config=config, upstream=upstream))
    answers._remembered.keep(question, ["alice@h1"], 1000, steady)
    words = (question.account, *question.certificate.split())
    for _ in range(3):
        assert (await answers.principals(words, None))[1:] == ["alice@h1"]
    steady += module.SILENT_SECONDS
    await answers.principals(words, None)
    whole, short = 4.0 - 0.3, module.SHORT_SECONDS
    assert upstream.asked == [whole, short, short, whole]
    # The twins: who cannot be answered from memory waits as long as ever, and a no still counts at once.
    with pytest.raises(ServiceError):
        await answers.principals(("bob", *words[1:]), None)
    assert upstream.asked[-1] == whole
    upstream.says_no = True
    with pytest.raises(Refused, match="expired"):
        await answers.principals(words, None)
    assert upstream.asked[-1] == short


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
    read_again(host)
    assert host.status()["when_away"] == "cached 5"
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
            said_no.wait(60)
            return true_answer(question)
        return SAID_NO["a no"](question)

    service.reply = slow_yes
    host.configure(url, when_away="cached 5")
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
        read_again(host)
        assert host.say(host.question()) == b"no expired\n"
        assert third.questions == []
