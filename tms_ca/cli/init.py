"""`tms-ca init` and `tms-ca migrate`: a data directory, its database and the first operator."""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from tms_ca.app import open_context
from tms_ca.core.access import Reach, Role
from tms_ca.core.errors import Conflict
from tms_ca.core.model import ALL_TENANTS, Caller, KeyPurpose
from tms_ca.settings import DATABASE_URL, DEFAULT_TEXT, MASTER_KEY_FILE, SETTINGS_FILE, SettingsError, load_settings
from tms_ca.store import migrate, rows
from tms_ca.store.engine import database_url
from tms_ca.vault import create_master_key

FIRST_TENANT = "default"


def local_operator() -> Caller:
    """Return the caller of a command that runs on the service's machine: whoever can read the master key."""
    return Caller(Role.OPERATOR, ALL_TENANTS, f"local-uid-{os.getuid()}", Reach.ANY)


def add(commands: Any) -> None:
    """Add the commands."""
    command = commands.add_parser("init", help="make a data directory with settings, database, master key and a tenant")
    command.add_argument("--data", type=Path, default=Path("tms-ca-data"), help="where (default: ./tms-ca-data)")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=run_init)
    command = commands.add_parser("migrate", help="bring the database to this release")
    command.add_argument("--data", type=Path, default=Path("tms-ca-data"), help="the data directory")
    command.set_defaults(run=run_migrate)


def run_init(arguments: argparse.Namespace) -> int:
    """Make the data directory; nothing that exists is overwritten."""
    data: Path = arguments.data.absolute()
    if (data / SETTINGS_FILE).exists() or (data / MASTER_KEY_FILE).exists():
        raise SettingsError(f"{data} is a data directory already; nothing was changed")
    there = data.exists()
    data.mkdir(parents=True, exist_ok=True)
    before = set(data.iterdir())
    data.chmod(0o700)
    try:
        create_master_key(data / MASTER_KEY_FILE)
        (data / SETTINGS_FILE).write_text(DEFAULT_TEXT)
        made = asyncio.run(_fill(data))
    except BaseException:  # half a data directory would be taken for a whole one
        for left in set(data.iterdir()) - before:
            left.unlink()
        if not there:
            data.rmdir()
        raise
    if arguments.json:
        print(json.dumps(made))
    else:
        print(f"made {data} with tenant {FIRST_TENANT!r} and its CA keys")
        print(f"operator:  {made['admin_id']}")
        print(f"secret:    {made['secret']}")
        print("The secret is shown this once: keep it where you keep passwords.")
        print(f"Keep a copy of {data / MASTER_KEY_FILE} apart from backups of the database: each is useless alone.")
        if DATABASE_URL in os.environ:
            print(f"{DATABASE_URL} is not in {data / SETTINGS_FILE}: serve and every other command need it, too.")
        print(f"next:      tms-ca serve --data {arguments.data}")
    return 0


async def _fill(data: Path) -> dict[str, str]:
    settings = load_settings(data)
    url = database_url(settings.database_url)
    await migrate.upgrade(url)
    if await migrate.is_used(url):
        raise Conflict(
            "database_in_use",
            f"there is an installation in {url.render_as_string()} already: to serve it from this machine too, copy "
            f"{MASTER_KEY_FILE} and {SETTINGS_FILE} of the first one; for a new one name an empty database",
        )
    operator = local_operator()
    async with open_context(settings) as context:
        directory = context.directory
        await directory.create_tenant(operator, FIRST_TENANT, "", None, None, None, "ed25519")
        _, secret = await directory.add_with_secret(
            operator, rows.ADMINS, Role.OPERATOR, ALL_TENANTS, admin_id="admin", display_name="", enabled=True
        )
        user_ca = (await context.cakeys.trusted(FIRST_TENANT, KeyPurpose.USER))[0]
    return {
        "admin_id": "admin",
        "secret": secret,
        "tenant": FIRST_TENANT,
        "user_ca": user_ca.public_key,
        "data": str(data),
    }


def run_migrate(arguments: argparse.Namespace) -> int:
    """Bring the database to this release."""
    settings = load_settings(arguments.data.absolute())
    revision = asyncio.run(migrate.upgrade(database_url(settings.database_url)))
    print(f"the database has revision {revision}", file=sys.stderr)
    return 0
