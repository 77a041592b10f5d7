"""`tms-ca audit|backup|settings ...`: what keeps an installation trustworthy, declared."""

import contextlib
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from tms_ca.cli import files
from tms_ca.cli.frame import Noun, Verb, deed
from tms_ca.cli.inputs import UsageError, option, positional
from tms_ca.core.access import Action
from tms_ca.core.errors import Conflict, Invalid, Unavailable
from tms_ca.http.endpoint import Call
from tms_ca.http.routes import audit_events
from tms_ca.settings import Settings, load_settings
from tms_ca.store.engine import database_url
from tms_ca.vault import load_vault


async def _verify(call: Call[None]) -> dict[str, Any]:
    """Recompute every audit chain of the installation; exit 1 when one does not hold."""
    found = await call.context.auditing.verify()
    return {"chains": found.chains, "events": found.events, "pruned": found.pruned,
            "faults": [asdict(fault) for fault in found.faults]}  # fmt: skip


def _verdict(found: dict[str, Any]) -> str:
    if not found["faults"]:
        gone = f", {found['pruned']} before them pruned" if found["pruned"] else ""
        return f"every chain holds: {found['chains']} chains, {found['events']} events{gone}\n"
    lines = [f"chain {one['chain']} is not whole at event {one['seq']}: {one['what']}" for one in found["faults"]]
    return "".join(f"{line}\n" for line in [*lines, f"{len(lines)} of {found['chains']} chains do not hold"])


AUDIT = Noun(
    "audit",
    "who did what, in chains that cannot be altered unseen",
    (
        Verb(name="verify", does=deed(_verify, Action.AUDIT_READ), say=_verdict,
             code=lambda found: 1 if found["faults"] else 0),
        Verb(name="list", does=audit_events.list_audit_events,
             columns=("at", "actor", "action", "outcome", "target", "address", "chain", "seq"),
             arguments=(option("--action", "action", "only this, such as certificates.issue"),
                        option("--actor", "actor", "only of this one, such as client:portal"),
                        option("--outcome", "outcome", "only ok, or this code of a refusal"))),
    ),
    "  tms-ca audit verify && echo nothing was altered\n"
    "  tms-ca audit list --outcome mfa_expired --limit 20\n"
    "  tms-ca audit list --tenant '*'            what belongs to no tenant, such as operators\n",
)  # fmt: skip


def _backup(data: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the database to a new file while the service runs; the copy is of one moment."""
    settings = load_settings(data)
    load_vault(settings.master_key)  # who may not act as the operator may not copy the operator's database
    url = database_url(settings.database_url)
    target = Path(inputs["file"])
    if url.get_backend_name() != "sqlite":
        raise Invalid("backup_not_sqlite", f"the database is PostgreSQL at {url.host}: back it up with pg_dump")
    exists = Conflict("backup_exists", f"{target} exists already and is not overwritten; give another name")
    if target.exists():
        raise exists
    with files.beside(target) as made:
        _copy(url, made)
        try:
            os.link(made, target)  # unlike a rename, this never replaces
        except FileExistsError as error:
            raise exists from error
    files.sync_directory(target.parent)
    return {"file": str(target), "bytes": target.stat().st_size}


def _copy(url: URL, target: Path) -> None:
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{Path(str(url.database)).as_uri()}?mode=rw", uri=True)) as source,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
            (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise Unavailable("backup_failed", f"cannot copy {url.database}: {error}") from error
    if verdict != "ok":
        raise Unavailable("backup_failed", f"the copy of {url.database} is not sound: {verdict}")
    with target.open("rb") as file:
        os.fsync(file.fileno())


BACKUP = Noun(
    "backup",
    "copies of the database",
    (
        Verb(name="create", does=_backup, arguments=(positional("file", "a file that is not there yet"),),
             text=str(_backup.__doc__),
             say=lambda made: f"wrote {made['file']}: {made['bytes']} bytes, without the master key: keep it too\n"),
    ),
    "  tms-ca backup create /backup/tms-$(date +%F).db\n",
)  # fmt: skip


def _check(data: Path, _: Mapping[str, Any]) -> dict[str, Any]:
    """Print the settings in force; exit 2 when the service could not start with them."""
    settings = load_settings(data)
    try:
        load_vault(settings.master_key)
        url = database_url(settings.database_url)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return _effective(settings, url.set(drivername=url.get_backend_name()).render_as_string())  # without its password


def _effective(settings: Settings, database: str) -> dict[str, Any]:
    listen = settings.listen
    return {
        "data": str(settings.data),
        "database.url": database,
        "master_key": str(settings.master_key),
        "listen.host": listen.host,
        "listen.port": listen.port,
        "listen.public_url": settings.listen.address,
        "listen.tls_certificate": listen.tls_certificate and str(listen.tls_certificate),
        "listen.tls_key": listen.tls_key and str(listen.tls_key),
        "listen.trusted_proxies": [str(network) for network in listen.trusted_proxies],
        "listen.allowed_hosts": list(listen.allowed_hosts),
        "listen.plain_http_on_any_address": listen.plain_http_on_any_address,
        "limits.backdate_seconds": settings.limits.backdate,
        "limits.max_ttl_seconds": settings.limits.max_ttl,
        "limits.connections": settings.connections,
        "sessions.lifetime_seconds": settings.session_seconds,
        "retention.certificates_days": settings.retention.certificates_days or 0,
        "retention.audit_days": settings.retention.audit_days or 0,
        "tracing.endpoint": settings.tracing_endpoint,
        **{f"tms_v1.{name}": value for name, value in asdict(settings.tms_v1).items()},
        "less safe than it could be": list(settings.tms_v1.loosened().values()),
    }


SETTINGS = Noun(
    "settings",
    "what the service runs with",
    (Verb(name="check", does=_check, text=str(_check.__doc__)),),
    "  tms-ca settings check --data /var/lib/tms-ca && systemctl restart tms-ca\n",
)

NOUNS = (AUDIT, BACKUP, SETTINGS)
