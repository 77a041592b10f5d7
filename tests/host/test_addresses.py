"""One service at several addresses: the helper goes on to the next where one is away, within its one deadline."""

import pytest

from keycmd.config import MOST_ADDRESSES, ConfigError, load
from tests.host.liar import Liar, answer
from tests.host.test_faults import LIES, true_answer

NO = answer(b'{"code":"expired"}', status="403 Forbidden", kind="application/problem+json")


def url(service: Liar) -> str:
    return f"http://127.0.0.1:{service.port}"


@pytest.mark.parametrize("away", ["garbage", "nothing", "server error", "unavailable", "silence", "short body", "down"])
def test_the_next_address_is_asked(helper, away):
    with Liar(LIES.get(away, true_answer)) as first, Liar(true_answer) as second:
        helper.configure(f"{url(first)} {url(second)}", timeout_seconds="10" if away == "silence" else "30")
        if away == "down":
            first.__exit__()
        ran = helper.ask()
        if away == "down":
            first.open(0)
    assert (ran.status, ran.out) == (0, b"alice@h1\n")
    assert len(second.questions) == 1


@pytest.mark.parametrize("said", ["a no", "unauthorized", "forbidden by a proxy", "another account", "redirect"])
def test_G_01_an_answer_that_came_is_not_asked_for_again(helper, said):
    """The twin: whoever is refused by one address is not let in by another."""
    with Liar(LIES.get(said, lambda _: NO)) as first, Liar(true_answer) as second:
        helper.configure(f"{url(first)} {url(second)}")
        ran = helper.ask()
    assert (ran.status, ran.out) == (0 if said == "a no" else 1, b"")
    assert (len(first.questions), second.questions) == (1, [])


def test_G_02_all_addresses_share_one_deadline(helper):
    """The second tells the truth when the deadline is over, but a whole one of its own would not be."""

    def late(question):
        second.closing.wait(0.7)
        return true_answer(question)

    with Liar(LIES["silence"]) as first, Liar(late) as second:
        helper.configure(f"{url(first)} {url(second)}", timeout_seconds="1")
        ran = helper.ask()
    assert (ran.status, ran.out) == (1, b"")
    assert ran.seconds >= 1


def test_addresses_are_taken_in_their_order(helper):
    path = helper.configure(
        "https://a.example.org  https://b.example.org:8443\thttps://[2001:db8::1]", ca_file="system"
    )
    assert [(one.name, one.port) for one in load(str(path)).addresses] == [
        ("a.example.org", 443), ("b.example.org", 8443), ("2001:db8::1", 443),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "urls",
    [
        "https://a.example.org https://a.example.org:443", "https://a.example.org http://b.example.org", "https://a.example.org,https://b",
        " ".join(f"https://h{n}.example.org" for n in range(MOST_ADDRESSES + 1)),
    ],
)  # fmt: skip
def test_addresses_that_are_not_taken(helper, urls):
    path = helper.configure(urls, ca_file="system")
    with pytest.raises(ConfigError, match="line 2: url"):
        load(str(path))


GOOD = [
    ("when_away", "closed", "when_away", "closed"), ("when_away", "cached 1", "away_minutes", 1), ("when_away", "cached  1440", "away_minutes", 1440),
    ("poll_seconds", "5", "poll_seconds", 5), ("report_seconds", "3600", "report_seconds", 3600), ("when_krl_stale", "refuse", "when_krl_stale", "refuse"),
    ("ca_lines", "yes", "ca_lines", True), ("sessions", "pam", "sessions", "pam"), ("state_dir", "/srv/tms/", "state_dir", "/srv/tms"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "name", "expected"), GOOD)
def test_a_value_that_is_taken(helper, key, value, name, expected):
    assert getattr(load(str(helper.configure("http://127.0.0.1", **{key: value}))), name) == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("when_away", "open"), ("when_away", "cached"), ("when_away", "cached 0"), ("when_away", "cached 1441"), ("when_away", "cached -1"),
        ("when_away", "cached 5 6"), ("when_away", "closed 5"), ("when_away", "cached ٣"), ("poll_seconds", "4"), ("poll_seconds", "nan"),
        ("report_seconds", "3601"), ("when_krl_stale", "ignore"), ("ca_lines", "true"), ("sessions", "yes"), ("state_dir", "var"),
        ("run_dir", "/run/../tmp"), ("run_dir", "/run/a b"), ("run_dir", "/" + "a" * 90),
    ],
)  # fmt: skip
def test_a_value_that_is_not_taken(helper, key, value):
    path = helper.configure("http://127.0.0.1", **{key: value})
    with pytest.raises(ConfigError, match=f"{key} is |not ASCII"):
        load(str(path))


def test_defaults_let_nobody_in_who_was_not_asked_about(helper):
    config = load(str(helper.configure("http://127.0.0.1")))
    assert (config.when_away, config.away_minutes, config.ca_lines, config.sessions) == ("closed", 0, False, "off")
