"""PostgreSQL over TLS with a password in a file: who answers is checked, and the password is nowhere to be read."""

import asyncio
import os
from pathlib import Path
from urllib.parse import urlencode

import asyncpg
import pytest

from deploy.sandbox_sshd import free_port
from tests.postgres import Server, server
from tests.replicas import pki
from tests.replicas.asking import family
from tests.ssh.service import Service
from tms_ca.core.errors import Unavailable
from tms_ca.settings import SettingsError, load_settings
from tms_ca.store import migrate
from tms_ca.store.engine import Database, database_url
from tms_ca.store.postgres import Connector

PASSWORD = "kept-in-a-file-0123456789"


class Tls:
    """A PostgreSQL that wants TLS and a password of `tms`, or TLS and a certificate of `machine`."""

    def __init__(self, running: Server, where: Path) -> None:
        self.server, self.where = running, where
        self.password = where / "password"
        self.password.write_text(PASSWORD + "\n")

    def url(self, user: str = "tms", host: str = "127.0.0.1", **query: object) -> str:
        given = {"sslmode": "verify-full", "sslrootcert": self.where / "good.pem", **query}
        told = urlencode({name: str(value) for name, value in given.items() if value is not None})
        return f"postgresql://{user}@{host}:{self.server.port}/tms?{told}"

    async def sql(self, *statements: str) -> list[list[asyncpg.Record]]:
        """Run statements as the superuser."""
        connection = await asyncpg.connect(self.server.url("postgres"))
        try:
            return [await connection.fetch(statement) for statement in statements]
        finally:
            await connection.close()


HBA = """
local all postgres trust
hostssl tms tms 127.0.0.1/32 scram-sha-256
hostssl tms machine 127.0.0.1/32 cert
"""


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    where = tmp_path_factory.mktemp("pki")
    pki.authority(where, "good")
    pki.authority(where, "wrong")
    pki.issued(where, "good", "server", "IP:127.0.0.1,DNS:db.example.org")
    pki.issued(where, "good", "machine", "DNS:machine")
    pki.issued(where, "good", "somebody", "DNS:somebody")
    with server("fsync=off", "ssl=on", "ssl_cert_file=server.pem", "ssl_key_file=server.key", "ssl_ca_file=ca.pem",
                port=free_port()) as running:  # fmt: skip
        for name, source in (("server.pem", "server.pem"), ("server.key", "server.key"), ("ca.pem", "good.pem")):
            target = running.data / name
            target.write_bytes((where / source).read_bytes())
            target.chmod(0o600)
            running.own(target)
        (running.data / "pg_hba.conf").write_text(HBA)
        running.start()
        made = Tls(running, where)
        statements = [f"CREATE ROLE tms LOGIN PASSWORD '{PASSWORD}'", "CREATE ROLE machine LOGIN", "GRANT tms TO machine",
                      "CREATE DATABASE tms OWNER tms"]  # fmt: skip
        asyncio.run(made.sql(*statements))
        yield made


async def refused(url: str) -> str:
    open_before = len(asyncio.get_running_loop()._selector.get_map())
    with pytest.raises(Unavailable) as error:
        await migrate.current(database_url(url))
    async with asyncio.timeout(60):
        while len(asyncio.get_running_loop()._selector.get_map()) > open_before:
            await asyncio.sleep(0.01)  # the refused connection is still being closed
    return f"{error.value.detail} {error.value.__cause__!r}"


async def test_a_checked_server_and_a_password_of_a_file(tls):
    assert await migrate.current(database_url(tls.url(password_file=tls.password))) in {None, migrate.head()}


async def test_the_negative_twins(tls, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("not-" + PASSWORD)
    cases = {
        "CERTIFICATE_VERIFY_FAILED": tls.url(password_file=tls.password, sslrootcert=tls.where / "wrong.pem"),
        "Hostname mismatch": tls.url(password_file=tls.password, host="localhost"),
        "password authentication failed": tls.url(password_file=wrong),
        "No such file": tls.url(password_file=tmp_path / "none"),
        "no pg_hba.conf entry": tls.url(password_file=tls.password, sslmode="disable", sslrootcert=None),
        "root certificate file": tls.url(password_file=tls.password, sslrootcert=None),
    }
    for words, url in cases.items():
        told = await refused(url)
        assert words in told, (words, told)
        assert PASSWORD not in told


async def test_verify_ca_does_not_look_at_the_name(tls):
    url = tls.url(password_file=tls.password, sslmode="verify-ca", host="localhost")
    assert await migrate.current(database_url(url)) in {None, migrate.head()}
    assert "VERIFY_FAILED" in await refused(url.replace("good.pem", "wrong.pem"))


async def test_a_client_certificate_opens_and_another_does_not(tls):
    def url(name: str | None) -> str:
        files = {} if name is None else {"sslcert": tls.where / f"{name}.pem", "sslkey": tls.where / f"{name}.key"}
        return tls.url("machine", **files)

    assert await migrate.current(database_url(url("machine"))) in {None, migrate.head()}
    assert "authentication failed" in await refused(url("somebody"))
    assert "certificate" in await refused(url(None))


@pytest.mark.parametrize(("text", "words"), [
    ("postgresql://tms@h/tms?sslrootcert=a&sslmode=require", "would not check it"),
    ("postgresql://tms@h/tms?sslcert=a", "go together"),
    ("postgresql://tms@h/tms?sslmode=verify-all", "expected one of"),
    ("postgresql://tms@h/tms?password=hush", "'password', which is not taken"),
    ("postgresql://tms:hush@h:port/tms", "no such URL"),
])  # fmt: skip
def test_a_url_that_would_not_do_what_it_says_is_refused_without_its_password(text, words):
    with pytest.raises(ValueError, match=words) as error:
        database_url(text)
    assert "hush" not in f"{error.value}{error.value.__cause__}"


def test_settings_go_into_the_url_unless_it_says_so_itself(tmp_path, monkeypatch):
    monkeypatch.delenv("TMS_CA_DATABASE_URL", raising=False)

    def load(text: str) -> str:
        (tmp_path / "settings.toml").write_text("[database]\n" + text)
        return load_settings(tmp_path).database_url

    url = load('url = "postgresql://tms@h/tms"\npassword_file = "pw"\nsslrootcert = "/etc/ca.pem"')
    parsed = database_url(url)
    assert dict(parsed.query) == {
        "password_file": str(tmp_path / "pw"), "sslrootcert": "/etc/ca.pem", "sslmode": "verify-full",
    }  # fmt: skip
    assert (
        database_url(load('url = "postgresql://tms@h/tms?sslmode=require"\nsslmode = "disable"')).query["sslmode"]
        == "require"
    )
    with pytest.raises(SettingsError, match=r"database\.sslmode is for PostgreSQL"):
        load('sslmode = "require"')
    with pytest.raises(SettingsError, match=r"database\.sslmode"):
        load('url = "postgresql://tms@h/tms"\nsslmode = "verify-all"')


async def test_a_service_by_tls_and_file_shows_its_password_nowhere_and_takes_a_new_one(tls, tmp_path):
    environment = {"TMS_CA_DATABASE_URL": tls.url(password_file=tls.password)}
    with Service(tmp_path / "data", environment=environment, fresh=True) as service:
        await asyncio.to_thread(service.init)
        await asyncio.to_thread(service.start)
        pids = family(service.process.pid)
        for pid in pids:
            for part in ("environ", "cmdline"):
                assert PASSWORD.encode() not in Path(f"/proc/{pid}/{part}").read_bytes()
        sessions = "SELECT ssl, usename FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = 'tms'"
        async with asyncio.timeout(60):
            while (await tls.sql(sessions + " AND usename <> 'tms'"))[0]:  # those of other tests end on their own
                await asyncio.sleep(0.05)
        seen = await tls.sql(sessions)
        assert len(seen[0]) > 1
        assert {tuple(row) for row in seen[0]} == {(True, "tms")}
        changed = "changed-" + PASSWORD
        tls.password.write_text(changed)
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'tms'"
        await tls.sql(f"ALTER ROLE tms PASSWORD '{changed}'", query)
        await asyncio.to_thread(service.wait_until_ready)
        settled = await asyncio.to_thread(service.tms_ca, "settings", "check")
        tls.password.write_text("wrong-" + PASSWORD)
        await tls.sql(query)
        async with asyncio.timeout(60):
            while (answer := await asyncio.to_thread(service.call, "GET", "users", service.operator)).status != 503:
                await asyncio.sleep(0.05)
        log = (service.data / "serve.log").read_text()
        tls.password.write_text(changed)
        await asyncio.to_thread(service.wait_until_ready)
        for text in (
            log,
            settled.stdout,
            settled.stderr,
            answer.body.decode(),
            (service.data / "settings.toml").read_text(),
        ):
            assert PASSWORD not in text
        async with asyncio.timeout(60):
            while (await asyncio.to_thread(service.call, "GET", "users", service.operator)).status != 200:
                await asyncio.sleep(0.05)
    assert PASSWORD not in "".join(f"{name}={value}" for name, value in os.environ.items())


async def test_a_change_goes_the_same_way(tls):
    """The engine of changes and the hot path have the same connector: what is refused there is refused here."""
    from tms_ca.store.chainwriter import ChainWriter

    database = Database(
        database_url(tls.url(sslrootcert=tls.where / "wrong.pem", password_file=tls.password)), ChainWriter(b"k", 1)
    )
    with pytest.raises(Unavailable):
        async with database.read():
            pass
    await database.close()


@pytest.mark.parametrize(("said", "name"), [("", "tms-ca"), ("&application_name=login-node-1", "login-node-1")])
async def test_sessions_have_the_name_that_the_url_gives_them(postgres, said, name):
    connection = await Connector(database_url(await postgres.fresh() + said)).connect()
    assert await connection.fetchval("SELECT current_setting('application_name')") == name
    await connection.close()
