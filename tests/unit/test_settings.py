"""K-05: settings that are wrong or weak keep the service from starting, and say which file and which key."""

import pytest

from tms_ca.core.facts import HARD_MAX_SECONDS
from tms_ca.settings import DEFAULT_TEXT, SettingsError, load_settings

REFUSED = {
    "an unknown section": ("[nothing]\nx = 1", "nothing: no such setting"),
    "an unknown key": ("[limits]\nmax_ttl = 60", "limits.max_ttl: no such setting"),
    "a key outside a section": ("port = 1", "port: no such setting"),
    "a section that is none": ('limits = "all"', "limits"),
    "text for a number": ('[listen]\nport = "8443"', "listen.port: expected a whole number"),
    "a truth for a number": ("[listen]\nport = true", "listen.port: expected a whole number"),
    "a fraction": ("[limits]\nmax_ttl_seconds = 60.5", "limits.max_ttl_seconds: expected a whole number"),
    "a number for a truth": ("[listen]\nplain_http_on_any_address = 1", "listen.plain_http_on_any_address"),
    "a word for a truth": ('[listen]\nplain_http_on_any_address = "yes"', "listen.plain_http_on_any_address"),
    "a number for text": ("[listen]\nhost = 127", "listen.host"),
    "text for a list": ('[listen]\ntrusted_proxies = "10.0.0.0/8"', "listen.trusted_proxies"),
    "no network": ('[listen]\ntrusted_proxies = ["proxy"]', "trusted_proxies"),
    "a network with host bits": ('[listen]\ntrusted_proxies = ["10.0.0.1/8"]', "trusted_proxies"),
    "a port too large": ("[listen]\nport = 65536", "listen.port"),
    "a port below nothing": ("[listen]\nport = -1", "listen.port"),
    "an empty host": ('[listen]\nhost = ""', "listen.host"),
    "a TTL over the cap": (f"[limits]\nmax_ttl_seconds = {HARD_MAX_SECONDS + 1}", "limits.max_ttl_seconds"),
    "a TTL of seconds": ("[limits]\nmax_ttl_seconds = 59", "limits.max_ttl_seconds"),
    "back-dating by an hour": ("[limits]\nbackdate_seconds = 3600", "limits.backdate_seconds"),
    "back-dating into the future": ("[limits]\nbackdate_seconds = -1", "limits.backdate_seconds"),
    "a session of days": ("[sessions]\nlifetime_seconds = 864000", "sessions.lifetime_seconds"),
    "a session of a minute": ("[sessions]\nlifetime_seconds = 60", "sessions.lifetime_seconds"),
    "plain http to others": ('[listen]\npublic_url = "http://tms.example.org"', "listen.public_url"),
    "no URL": ('[listen]\npublic_url = "tms.example.org"', "listen.public_url"),
    "a URL of another kind": ('[listen]\npublic_url = "ftp://tms.example.org"', "listen.public_url"),
    "a URL with a slash": ('[listen]\npublic_url = "https://tms.example.org/"', "listen.public_url"),
    "a URL with a query": ('[listen]\npublic_url = "https://tms.example.org?x=1"', "listen.public_url"),
    "a URL with a fragment": ('[listen]\npublic_url = "https://tms.example.org#x"', "listen.public_url"),
    "a URL with a user": ('[listen]\npublic_url = "https://me:pw@tms.example.org"', "listen.public_url"),
    "a URL without a host": ('[listen]\npublic_url = "https://"', "listen.public_url"),
    "a URL with no port": ('[listen]\npublic_url = "https://tms.example.org:x"', "listen.public_url"),
    "a URL that is none": ('[listen]\npublic_url = "https://[::1"', "listen.public_url"),
    "everybody without TLS": ('[listen]\nhost = "0.0.0.0"', "listen.host"),
    "everybody without TLS, IPv6": ('[listen]\nhost = "::"', "listen.host"),
    "a name without TLS": ('[listen]\nhost = "tms.example.org"', "listen.host"),
    "a certificate without its key": ('[listen]\ntls_certificate = "c.pem"', "listen.tls_key"),
    "a key without its certificate": ('[listen]\ntls_key = "k.pem"', "listen.tls_certificate"),
    "an empty certificate": ('[listen]\ntls_certificate = ""\ntls_key = ""', "listen.tls_certificate"),
    "an empty database": ('[database]\nurl = ""', "database.url"),
    "no TOML": ("[listen", "settings.toml"),
    "the same key twice": ("[listen]\nport = 1\nport = 2", "settings.toml"),
    "not UTF-8": (b"\xff\xfe", "settings.toml"),
}
TAKEN = {
    "nothing": "",
    "the defaults": DEFAULT_TEXT,
    "everybody with TLS": '[listen]\nhost = "0.0.0.0"\ntls_certificate = "c.pem"\ntls_key = "k.pem"',
    "everybody behind a proxy": '[listen]\nhost = "0.0.0.0"\ntrusted_proxies = ["10.0.0.0/8"]',
    "everybody, insisted": '[listen]\nhost = "0.0.0.0"\nplain_http_on_any_address = true',
    "this machine by name": '[listen]\nhost = "localhost"\npublic_url = "http://localhost:8443"',
    "this machine, IPv6": '[listen]\nhost = "::1"',
    "https": '[listen]\npublic_url = "https://tms.example.org:8443/ca"',
    "the longest": f"[limits]\nmax_ttl_seconds = {HARD_MAX_SECONDS}\nbackdate_seconds = 900",
    "the shortest": "[limits]\nmax_ttl_seconds = 60\nbackdate_seconds = 0\n[sessions]\nlifetime_seconds = 300",
}


@pytest.fixture(autouse=True)
def _no_database_of_the_environment(monkeypatch):
    monkeypatch.delenv("TMS_CA_DATABASE_URL", raising=False)


def load(directory, text, **given):
    (directory / "settings.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_settings(directory, **given)


@pytest.mark.parametrize("case", REFUSED)
def test_K_05_wrong_or_weak_settings_are_refused_by_file_and_key(tmp_path, case):
    text, key = REFUSED[case]
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, text)
    assert str(tmp_path / "settings.toml") in str(refused.value)
    assert key in str(refused.value)


@pytest.mark.parametrize("case", TAKEN)
def test_K_05_what_is_right_is_taken(tmp_path, case):
    assert load(tmp_path, TAKEN[case]).data == tmp_path


def test_the_defaults_are_careful(tmp_path):
    settings = load(tmp_path, "")
    assert (settings.listen.host, settings.listen.port) == ("127.0.0.1", 8443)
    assert settings.database_url == f"sqlite:///{tmp_path / 'tms.db'}"
    assert settings.limits.max_ttl == HARD_MAX_SECONDS
    assert settings.limits.backdate == 60
    assert settings.session_seconds == 8 * 3600
    assert not settings.listen.plain_http_on_any_address


def test_the_command_line_goes_before_the_file_and_is_checked_like_it(tmp_path):
    settings = load(tmp_path, '[listen]\nhost = "localhost"\nport = 1', host="127.0.0.1", port=2)
    assert (settings.listen.host, settings.listen.port) == ("127.0.0.1", 2)
    with pytest.raises(SettingsError, match="others can reach, without TLS"):
        load(tmp_path, "", host="0.0.0.0")


def test_the_environment_names_the_database_first(tmp_path, monkeypatch):
    monkeypatch.setenv("TMS_CA_DATABASE_URL", "postgresql://tms@db/tms")
    assert load(tmp_path, '[database]\nurl = "sqlite:///other.db"').database_url == "postgresql://tms@db/tms"
    monkeypatch.setenv("TMS_CA_DATABASE_URL", "")
    assert load(tmp_path, '[database]\nurl = "sqlite:///other.db"').database_url == f"sqlite:///{tmp_path / 'other.db'}"


def test_paths_are_of_the_data_directory(tmp_path):
    settings = load(tmp_path, '[listen]\ntls_certificate = "c.pem"\ntls_key = "/etc/k.pem"')
    assert settings.listen.tls_certificate == tmp_path / "c.pem"
    assert str(settings.listen.tls_key) == "/etc/k.pem"


def test_no_directory_says_how_to_make_one(tmp_path):
    with pytest.raises(SettingsError, match=r"tms-ca init --data"):
        load_settings(tmp_path / "none")


def test_secrets_have_no_place_in_the_file(tmp_path):
    for key in ("secret", "password", "master_key"):
        with pytest.raises(SettingsError, match="no such setting"):
            load(tmp_path, f'[database]\n{key} = "x"')
