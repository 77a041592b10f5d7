"""The helper's configuration: each positive with its negative twin."""

import os

import pytest

from keycmd.config import ConfigError, is_loopback, load
from tests.host.conftest import TOKEN
from tests.host.liar import Liar
from tests.host.test_faults import true_answer


@pytest.fixture
def good(helper):
    return helper.configure("https://tms.example.org", ca_file="system", timeout_seconds="2")


def test_a_good_file_loads(good):
    config = load(str(good))
    (address,) = config.addresses
    assert (address.secure, address.name, address.port) == (True, "tms.example.org", 443)
    assert (config.tenant, config.host, config.token, config.timeout) == ("default", "h1", TOKEN, 2.0)


BAD_LINES = {
    "unknown key": ("surprise = 1", "none of"),
    "twice": ("tenant = default", "twice"),
    "no value": ("timeout_seconds =", "no value"),
    "no equals": ("tenant", "none of"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_is_named(good, case):
    line, expected = BAD_LINES[case]
    good.write_text(good.read_text() + line + "\n")
    where = f"host.conf line {len(good.read_text().splitlines())}: {line.split()[0]} .*{expected}"
    with pytest.raises(ConfigError, match=where):
        load(str(good))


BAD_VALUES = [
    ("url", "http://tms.example.org"), ("url", "http://localhost:1"), ("url", "http://10.0.0.1"), ("url", "ftp://x"),
    ("url", "https://x/path"), ("url", "https://u@x"), ("url", "https://x:99999"), ("url", "https://:443"), ("url", "tms.example.org"),
    ("url", "http://[::2]:1"), ("url", "http://127.0.0.1.example.org"), ("url", "https://a b"), ("url", "https://x:"), ("url", "https://[::1"),
    ("url", "https://x\ry"), ("url", "https://"), ("tenant", ".."), ("tenant", "a" * 25), ("host", "h."), ("host", "a" * 64),
    ("tenant", "a/b"), ("tenant", "A"), ("host", "h 1"), ("host", "../x"), ("timeout_seconds", "0"), ("timeout_seconds", "31"),
    ("timeout_seconds", "soon"), ("timeout_seconds", "nan"), ("token_file", "/nonexistent"), ("ca_file", ""),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), BAD_VALUES)
def test_a_bad_value_is_refused(helper, key, value):
    values = {"ca_file": "system", key: value}
    url = values.pop("url", "https://tms.example.org")
    with pytest.raises(ConfigError, match=rf"host\.conf.*{key}"):
        load(str(helper.configure(url, **values)))


@pytest.mark.parametrize("key", ["url", "tenant", "host", "token_file"])
def test_a_missing_key_is_named(good, key):
    good.write_text("".join(line for line in good.read_text().splitlines(True) if not line.startswith(f"{key} ")))
    with pytest.raises(ConfigError, match=f"{key} is missing"):
        load(str(good))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://tms.example.org:8443/", (True, "tms.example.org", 8443)), ("http://127.0.0.1:1", (False, "127.0.0.1", 1)),
        ("http://[::1]:80", (False, "::1", 80)), ("https://[2001:db8::1]", (True, "2001:db8::1", 443)), ("http://127.0.0.2", (False, "127.0.0.2", 80)),
    ],
)  # fmt: skip
def test_a_url_that_is_taken(helper, url, expected):
    (address,) = load(str(helper.configure(url, ca_file="system"))).addresses
    assert (address.secure, address.name, address.port) == expected


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_G_04_a_file_that_others_can_write_is_refused(good, mode):
    good.chmod(mode)
    with pytest.raises(ConfigError, match="mode"):
        load(str(good))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_G_04_a_credential_that_others_can_read_is_refused(good, mode):
    (good.parent / "token").chmod(mode)
    with pytest.raises(ConfigError, match="mode"):
        load(str(good))


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_G_04_a_file_of_another_user_is_refused(good):
    os.chown(good, 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to uid 12345"):
        load(str(good))


def test_the_token_must_look_like_one(good):
    (good.parent / "token").write_text("hunter2\n")
    with pytest.raises(ConfigError, match="does not hold a host credential"):
        load(str(good))


def test_loopback_is_a_literal():
    assert is_loopback("127.0.0.1")
    assert is_loopback("127.9.9.9")
    assert is_loopback("::1")
    for other in ("localhost", "127.0.0.1.example.org", "128.0.0.1", "0.0.0.0", "127.1", "127.0.0.256", ""):
        assert not is_loopback(other)


def test_a_missing_configuration_refuses(helper, tmp_path):
    with Liar(true_answer) as service:
        path = helper.configure(f"http://127.0.0.1:{service.port}")
        assert helper.ask().status == 0
        path.unlink()
        ran = helper.ask()
    assert (ran.status, ran.out) == (1, b"")
