"""One TOML file, read once, strictly: an unknown key, a wrong type or a weak value keeps the service from starting.

Secrets are never in it, only the paths of files.
"""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields, post_load, validate

from tms_ca.core.facts import HARD_MAX_SECONDS, Limits
from tms_ca.settings_fields import Bool, Int, Network, NetworkField, Strict
from tms_ca.settings_tms_v1 import TmsV1, TmsV1Schema
from tms_ca.store.engine import sqlite_url
from tms_ca.store.postgres import SSL_MODES, with_parameters
from tms_ca.store.retention import Retention

SETTINGS_FILE = "settings.toml"
DATABASE_URL = "TMS_CA_DATABASE_URL"  # goes before what the file says
MASTER_KEY_FILE = "master.key"
DATABASE_FILE = "tms.db"


class SettingsError(ValueError):
    """The settings are not usable; the text names file and key."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the service answers, and how it is protected on the way."""

    host: str = "127.0.0.1"
    port: int = 8443
    public_url: str = ""  # how users and hosts reach it; empty: http(s)://host:port
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    trusted_proxies: tuple[Network, ...] = ()
    allowed_hosts: tuple[str, ...] = ()  # empty: whatever name a request uses
    plain_http_on_any_address: bool = False

    @property
    def address(self) -> str:
        """How users and hosts reach the service."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "http" if self.tls_certificate is None else "https"
        return self.public_url or f"{scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the operator can decide."""

    data: Path
    database_url: str
    master_key: Path
    listen: Listen = field(default_factory=Listen)
    limits: Limits = field(default_factory=Limits)
    session_seconds: int = 8 * 3600
    retention: Retention = field(default_factory=Retention)
    tracing_endpoint: str = ""  # of an OTLP receiver; empty: none, unless the environment names one
    connections: int = 0  # 0: as many as the process may have descriptors
    tms_v1: TmsV1 = field(default_factory=TmsV1)


class _ListenSchema(Strict):
    host = fields.String(validate=validate.Length(1, 255))
    port = Int(validate=validate.Range(0, 65535))
    public_url = fields.String()
    tls_certificate = fields.String(validate=validate.Length(min=1))
    tls_key = fields.String(validate=validate.Length(min=1))
    trusted_proxies = fields.List(NetworkField())
    allowed_hosts = fields.List(fields.String(validate=validate.Regexp(r"[a-z0-9.-]{1,253}\Z|\[[0-9a-f:.]+\]\Z")))
    plain_http_on_any_address = Bool()

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        for name in ("trusted_proxies", "allowed_hosts"):
            data[name] = tuple(data.get(name, ()))
        return data


class _LimitsSchema(Strict):
    backdate = Int(data_key="backdate_seconds", validate=validate.Range(0, 900))
    max_ttl = Int(data_key="max_ttl_seconds", validate=validate.Range(60, HARD_MAX_SECONDS))
    connections = Int(validate=validate.Range(0, 1_000_000))


class _DatabaseSchema(Strict):
    url = fields.String(validate=validate.Length(min=1))
    password_file = fields.String()
    sslmode = fields.String(validate=validate.OneOf(["", *SSL_MODES]))
    sslrootcert = fields.String()
    sslcert = fields.String()
    sslkey = fields.String()


class _SessionsSchema(Strict):
    lifetime_seconds = Int(validate=validate.Range(300, 24 * 3600))


def _web_url(value: str) -> None:
    if value and (urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).hostname):
        raise ValidationError(f"expected http://HOST:PORT or https://HOST:PORT, got {value!r}")


class _TracingSchema(Strict):
    endpoint = fields.String(validate=_web_url)


class _RetentionSchema(Strict):
    certificates_days = Int(validate=validate.Range(0, 36500))
    audit_days = Int(validate=validate.Range(0, 36500))


class _SettingsSchema(Strict):
    listen = fields.Nested(_ListenSchema, load_default=dict)
    limits = fields.Nested(_LimitsSchema, load_default=dict)
    database = fields.Nested(_DatabaseSchema, load_default=dict)
    sessions = fields.Nested(_SessionsSchema, load_default=dict)
    retention = fields.Nested(_RetentionSchema, load_default=dict)
    tracing = fields.Nested(_TracingSchema, load_default=dict)
    tms_v1 = fields.Nested(TmsV1Schema, load_default=TmsV1)


DEFAULT_TEXT = """\
# Settings of tms-ca. Every key is optional; the values below are the defaults. docs/settings.md explains each.

[listen]
# host = "127.0.0.1"
# port = 8443
# public_url = ""                 # how users and hosts reach the service, such as https://tms.example.org
# tls_certificate = ""            # PEM files; without them only loopback is served
# tls_key = ""
# trusted_proxies = []            # networks of the proxies in front, such as ["10.0.0.0/24"]
# allowed_hosts = []              # names that requests may use, such as ["tms.example.org"]; empty: any
# plain_http_on_any_address = false

[database]
# url = "sqlite:///tms.db"        # or postgresql://user@host/name; TMS_CA_DATABASE_URL goes first
# password_file = ""              # PostgreSQL: a file with the password alone
# sslmode = ""                    # verify-full checks the server's certificate
# sslrootcert = ""                # PEM files: the CA of the server's certificate, and a certificate of ours
# sslcert = ""
# sslkey = ""

[limits]
# backdate_seconds = 60           # for hosts whose clock is behind
# max_ttl_seconds = 86400         # no certificate lives longer, whatever a tenant says
# connections = 0                 # most at once in each process; 0: as many as descriptors allow

[sessions]
# lifetime_seconds = 28800

[retention]                       # how long things are kept after their end; 0: for ever
# certificates_days = 0
# audit_days = 0

[tracing]
# endpoint = ""                   # of an OpenTelemetry receiver, such as http://127.0.0.1:4318

[tms_v1]                          # the wire API of the TMS server 0.3, under /v1/tms
# enabled = false
# strict = true                   # false: retrieval forgives what the old server ignored, for a migration
# mvp = false                     # true: creating a key makes the user, account link and delegation that it needs
# new_clients = "disallow"        # or "on_approval" (an admin enables each), or "allow": anybody may register one
# test_tenant = false             # true: the tenant `test` with its well-known secret
# retrieve = "open"               # "hosts": only with the host's credential, which tms_keycmd 0.1 does not have
# retrieve_tenants = []           # whose keys are given out; empty: those of every tenant
# open_tenants = false            # true: anybody may read tenants' names
# requests_per_minute = 60        # from one address, for each call that takes no credential
# retrieve_per_minute = 6000      # the same for retrieval
# server_urls = []                # for /spec; empty: PUBLIC_URL/v1
"""


def load_settings(data: Path, *, host: str | None = None, port: int | None = None) -> Settings:
    """Read DATA/settings.toml; `host` and `port` of a command line go first.

    Raises:
        SettingsError: with the file and the key that is wrong

    """
    path = data / SETTINGS_FILE
    try:
        with path.open("rb") as file:
            raw = tomllib.load(file)
    except FileNotFoundError as error:
        raise SettingsError(f"{path} is not there; make a data directory with: tms-ca init --data {data}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error
    try:
        loaded = _SettingsSchema().load(raw)
    except ValidationError as error:
        raise SettingsError(f"{path}: {_first(error.messages)}") from error
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    listen = _listen(path, data, {**loaded["listen"], **given})
    url = os.environ.get(DATABASE_URL) or loaded["database"].get("url") or sqlite_url(data / DATABASE_FILE)
    url = _with_parameters(path, data, _absolute(url, data), loaded["database"])
    limits = dict(loaded["limits"])
    connections = limits.pop("connections", 0)
    return Settings(
        data=data,
        database_url=url,
        master_key=data / MASTER_KEY_FILE,
        listen=listen,
        limits=Limits(**limits),
        session_seconds=loaded["sessions"].get("lifetime_seconds", 8 * 3600),
        retention=Retention(**{name: days or None for name, days in loaded["retention"].items()}),
        tracing_endpoint=loaded["tracing"].get("endpoint", ""),
        connections=connections,
        tms_v1=loaded["tms_v1"],
    )


def _listen(path: Path, data: Path, values: Mapping[str, Any]) -> Listen:
    given = dict(values)
    for name in ("tls_certificate", "tls_key"):
        if name in given:
            given[name] = data / given[name]
    listen = Listen(**given)
    if (listen.tls_certificate is None) is not (listen.tls_key is None):
        raise SettingsError(f"{path}: listen.tls_certificate and listen.tls_key go together")
    tls = listen.tls_certificate is not None
    behind_proxy = bool(listen.trusted_proxies)
    if not tls and not is_loopback(listen.host) and not behind_proxy and not listen.plain_http_on_any_address:
        raise SettingsError(
            f"{path}: listen.host is {listen.host!r}, which others can reach, without TLS; set listen.tls_certificate "
            "and listen.tls_key, name the proxies in listen.trusted_proxies, or insist with "
            "listen.plain_http_on_any_address = true"
        )
    _check_public_url(path, listen)
    return listen


def _check_public_url(path: Path, listen: Listen) -> None:
    if not listen.public_url:
        return
    wrong = SettingsError(f"{path}: listen.public_url is {listen.public_url!r}; expected https://NAME[:PORT]")
    try:
        parts = urlsplit(listen.public_url)
        _ = parts.port  # read here: a port that is none raises only when it is asked for
    except ValueError as error:
        raise wrong from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise wrong
    if parts.scheme == "http" and not is_loopback(parts.hostname) and not listen.plain_http_on_any_address:
        raise SettingsError(f"{path}: listen.public_url is plain http to {parts.hostname!r}; expected https://")
    if listen.public_url.endswith("/"):
        raise SettingsError(f"{path}: listen.public_url must not end with /")


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine and nobody else."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _absolute(url: str, data: Path) -> str:
    prefix = "sqlite:///"
    if url.startswith(prefix) and not url.startswith(prefix + "/"):
        return prefix + str(data.absolute() / url.removeprefix(prefix))
    return url


def _with_parameters(path: Path, data: Path, url: str, database: Mapping[str, str]) -> str:
    given = {name: value for name, value in database.items() if name != "url" and value}
    if given and url.startswith("sqlite:"):
        raise SettingsError(f"{path}: database.{min(given)} is for PostgreSQL, and the database is SQLite")
    files = {name: str(data.absolute() / value) for name, value in given.items() if name != "sslmode"}
    return with_parameters(url, {**given, **files})


def _first(messages: Any, prefix: str = "") -> str:
    if isinstance(messages, Mapping):
        name, inner = next(iter(messages.items()))
        return _first(inner, f"{prefix}.{name}" if prefix else str(name))
    text = messages[0] if isinstance(messages, list) else messages
    return f"{prefix}: {'no such setting' if text == 'Unknown field.' else text}"
