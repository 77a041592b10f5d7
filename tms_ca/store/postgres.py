"""How PostgreSQL is reached: URL, hosts, TLS, password, time-outs. Every connection of ours is opened here.

The URL is libpq's. Several hosts may stand in it; each is tried for a time of its own, the one that answered last
first, and only one that takes writes is taken: after a fail-over the next connection finds the new primary.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import asyncpg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

ANSWER_SECONDS = 4.0  # how long one answer of the server is waited for; store.deadline: how long all of a request's
CONNECT_SECONDS = 2.0  # for each host
_BYE_SECONDS = 0.5
_SERVER_SECONDS = 3.5  # less than ANSWER_SECONDS: the server gives up first, and the connection stays of use

PASSWORD_FILE = "password_file"  # noqa: S105 - the name of a parameter, ours; the others are libpq's
TAKEN = frozenset(
    {
        PASSWORD_FILE, "host", "port", "passfile", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl",
        "ssl_min_protocol_version", "ssl_max_protocol_version", "target_session_attrs", "application_name", "options",
    }
)  # fmt: skip
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_DRIVER = "postgresql+asyncpg"

# What may go wrong between us and the server. A TimeoutError is an OSError; a standby where a primary is wanted is an
# InternalClientError.
ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

# What the server does when we are gone or stuck: nobody waits longer for our locks than for us.
SERVER_SETTINGS = {
    "application_name": "tms-ca",
    "statement_timeout": f"{int(_SERVER_SECONDS * 1000)}ms",
    "lock_timeout": f"{int(_SERVER_SECONDS * 1000)}ms",
    "idle_in_transaction_session_timeout": "3s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
    "jit": "off",  # compiling a statement of microseconds takes milliseconds
}

# Where transactions read what was there when they began, a change that waited for a group of certificates would not
# see them, and a revocation would not end them. Of those that meet so, a serializable server undoes one.
_SEE_WHAT_IS_COMMITTED = """
    SELECT set_config('default_transaction_isolation', 'read committed', false)
    WHERE current_setting('default_transaction_isolation') = 'repeatable read'
"""


def postgres_url(text: str) -> URL:
    """Return libpq's URL `text` in one form: hosts and ports in the query when there are several.

    Raises:
        ValueError: a parameter that is not taken, TLS that would not check what it was told to check

    """
    tail = text.partition("://")[2]
    authority, slash, rest = tail.partition("/")
    user, at, hosts = authority.rpartition("@")
    query: dict[str, str] = {}
    if "," in hosts:
        names, ports = zip(*(_host_and_port(one) for one in hosts.split(",")), strict=True)
        query = {"host": ",".join(names), "port": ",".join(ports)}
        authority = user + at
    try:
        url = make_url(f"{_DRIVER}://{authority}{slash}{rest}")
    except (ArgumentError, ValueError):
        # Without the cause: it may say the password.
        raise ValueError(
            "expected postgresql://USER@HOST[:PORT][,HOST[:PORT]...]/NAME[?...], got no such URL"
        ) from None
    for name, value in url.query.items():
        query.setdefault(name, value if isinstance(value, str) else ",".join(value))
    if unknown := sorted(set(query) - TAKEN):
        raise ValueError(
            f"the database URL has {unknown[0]!r}, which is not taken; expected {', '.join(sorted(TAKEN))}"
        )
    _check_tls(query)
    return url.set(query=query)


def with_parameters(text: str, given: Mapping[str, str]) -> str:
    """Return the URL `text` with the parameters `given`, but for those that it has itself."""
    base, _, query = text.partition("?")
    said = {name for name, _ in parse_qsl(query)}
    more = urlencode({name: value for name, value in given.items() if name not in said})
    return f"{base}?{'&'.join(filter(None, [query, more]))}" if more else text


def _host_and_port(text: str) -> tuple[str, str]:
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        return text.strip("[]"), "5432"
    return host.strip("[]"), port


def _check_tls(query: dict[str, str]) -> None:
    mode = query.get("sslmode")
    if mode is not None and mode not in SSL_MODES:
        raise ValueError(f"sslmode of the database is {mode!r}; expected one of {', '.join(SSL_MODES)}")
    if "sslrootcert" in query and mode is None:
        query["sslmode"] = "verify-full"
    elif "sslrootcert" in query and mode not in {"verify-ca", "verify-full"}:
        raise ValueError(f"sslrootcert needs sslmode verify-full or verify-ca, got {mode!r}, which would not check it")
    if ("sslcert" in query) is not ("sslkey" in query):
        raise ValueError("sslcert and sslkey of the database go together")


def hosts_of(url: URL) -> list[tuple[str, int]]:
    """Return each host (a directory for a Unix socket) with its port, in the order of the URL."""
    hosts = str(url.query.get("host", url.host or "")).split(",")
    ports = str(url.query.get("port", url.port or 5432)).split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts):
        raise ValueError(f"the database URL has {len(hosts)} hosts and {len(ports)} ports")
    return [(host, int(port)) for host, port in zip(hosts, ports, strict=True)]


class Unreachable(ConnectionError):
    """No host of the URL has a server that will do; the text says why, for each."""


_leaving: "set[asyncio.Task[None]]" = set()


class _Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no type hints
    """A connection that says goodbye in half a second, or hangs up."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's signature
        if timeout is None:
            await super().close(timeout=_BYE_SECONDS)
            return
        # SQLAlchemy gives it up, in the middle of a request that is late already: that does not wait for the goodbye.
        task = asyncio.get_running_loop().create_task(hang_up(self))
        _leaving.add(task)
        task.add_done_callback(_leaving.discard)


class Connector:
    """Opens connections to the database of one URL."""

    def __init__(self, url: URL, answer_seconds: float | None = None) -> None:
        self._answer_seconds = ANSWER_SECONDS if answer_seconds is None else answer_seconds
        self._hosts = hosts_of(url)
        query = {name: str(value) for name, value in url.query.items() if name not in {"host", "port"}}
        file = query.pop(PASSWORD_FILE, None)
        wanted = query.setdefault("target_session_attrs", "read-write")  # a standby is of no use to us
        self._of_url = {"application_name"} & set(query)
        self._wanted = " that takes writes" if wanted in {"read-write", "primary"} else ""
        plain = url.set(drivername="postgresql", host=None, port=None, query=query)
        self._arguments: dict[str, Any] = {"dsn": plain.render_as_string(hide_password=False)}
        self._password_file = None if file is None else Path(file)

    def _password(self) -> dict[str, str]:
        """Return what the file of the password says, read anew for each connection: a change needs no restart."""
        if self._password_file is None:
            return {}
        try:
            return {"password": self._password_file.read_text(encoding="utf-8").rstrip("\r\n")}
        except (OSError, ValueError) as error:
            raise Unreachable(f"the {PASSWORD_FILE} of the database cannot be read: {error}") from error

    async def connect(self, **settings: str) -> "asyncpg.Connection[Any]":
        """Return a connection to a server that takes writes; `settings` are the server's, beside SERVER_SETTINGS.

        Raises:
            Unreachable: no host will do, or the password cannot be read

        """
        password = self._password()
        ours = {name: value for name, value in {**SERVER_SETTINGS, **settings}.items() if name not in self._of_url}
        failures: list[tuple[str, Exception]] = []
        for place in tuple(self._hosts):
            host, port = place
            try:
                connection = await asyncpg.connect(
                    **self._arguments,
                    **password,
                    **({"host": host, "port": port} if host else {}),
                    connection_class=_Connection,
                    timeout=CONNECT_SECONDS,
                    command_timeout=self._answer_seconds,
                    server_settings=ours,
                )
                await _prepare(connection)
            except (*ERRORS, ValueError) as error:  # ValueError: a file of TLS that is none
                failures.append((f"{host}:{port}", error))
            else:
                self._hosts.sort(key=lambda one: one != place)
                return connection
        reasons = "; ".join(f"{where}: {str(error) or type(error).__name__}" for where, error in failures)
        raise Unreachable(f"no PostgreSQL server{self._wanted}: {reasons}") from failures[-1][1]


async def _prepare(connection: "asyncpg.Connection[Any]") -> None:
    try:
        await connection.execute(_SEE_WHAT_IS_COMMITTED, timeout=CONNECT_SECONDS)
    except BaseException:
        connection.terminate()
        raise


async def hang_up(connection: "asyncpg.Connection[Any]") -> None:
    """Close a connection politely, or at once when the server does not answer."""
    try:
        await connection.close()
    except (*ERRORS, asyncio.CancelledError):
        connection.terminate()
