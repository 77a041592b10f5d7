"""Databases of the old server, 0.2 and 0.3, in its own schema, filled by tests."""

import base64
import hashlib
import sqlite3
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from schemas.base import rfc3339

HERE = Path(__file__).parent
DAY = 86400
NEVER = 253402300799
CLIENT_SECRET, ADMIN_SECRET = "c" * 48, "a" * 48
TIMES = ("created", "updated", "expires_at")
WELL_KNOWN = (  # of the word secret1, as the old server's installation has it
    "1c3e9787e63aa086675efe17a9b2b1adbeaddd19283d8bfe364a8e044f0cc24b"
    "2cb804d1136685069f0d9bd929fd79f96b89762a2f10917e6a21495b5d080ee1"
)


def hashed(secret: str) -> str:
    return hashlib.sha512(secret.encode()).hexdigest()


def new_key() -> tuple[str, str]:
    """Return a public key as the old server stores it, and its fingerprint."""
    raw = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    blob = struct.pack(">I", 11) + b"ssh-ed25519" + struct.pack(">I", 32) + raw
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}", fingerprint(blob)


def fingerprint(blob: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


@dataclass
class Old:
    """Rows to be: `now` is when they are looked at, times are Unix seconds."""

    now: int
    rows: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def add(self, table: str, **values: Any) -> dict[str, Any]:
        made = {"id": 1 + sum(one == table for one, _ in self.rows), "created": self.now - 30 * DAY, **values}
        made.setdefault("updated", made["created"])
        if table != "tenants":
            made.setdefault("tenant", "default")
        self.rows.append((table, made))
        return made

    def tenant(self, name: str = "default", *, enabled: bool = True) -> None:
        self.add("tenants", tenant=name, enabled=enabled)

    def client(self, client_id: str = "portal", secret: str = CLIENT_SECRET, **more: Any) -> None:
        values = {"app_name": client_id, "app_version": "1.0", "client_secret": hashed(secret), "enabled": True, **more}
        self.add("clients", client_id=client_id, **values)

    def admin(self, admin_user: str = "~~admin", secret: str = ADMIN_SECRET, **more: Any) -> None:
        values = {"admin_secret": hashed(secret), "privilege": "PERM_ADMIN", **more}
        self.add("admin", admin_user=admin_user, **values)

    def user(self, user: str = "alice", **more: Any) -> None:
        self.add("user_mfa", **{"tms_user_id": user, "expires_at": self.now + DAY, "enabled": True, **more})

    def link(self, user: str = "alice", host: str = "h1", account: str = "alice", **more: Any) -> None:
        values = {"tms_user_id": user, "host": host, "host_account": account, "expires_at": self.now + 30 * DAY, **more}
        self.add("user_hosts", **values)

    def delegation(self, client_id: str = "portal", user: str = "alice", **more: Any) -> None:
        self.add(
            "delegations", **{"client_id": client_id, "client_user_id": user, "expires_at": self.now + 20 * DAY, **more}
        )

    def key(self, **more: Any) -> str:
        """Add a key of portal for alice at alice@h1, that is good for any number of uses; return its fingerprint."""
        public_key, its_fingerprint = new_key()
        values = {
            "client_id": "portal", "client_user_id": "alice", "host": "h1", "host_account": "alice",
            "public_key_fingerprint": its_fingerprint, "public_key": public_key, "key_type": "ed25519", "key_bits": 256,
            "max_uses": 2**31 - 1, "remaining_uses": 2**31 - 1, "initial_ttl_minutes": 2**31 - 1,
            "expires_at": NEVER, **more,
        }  # fmt: skip
        self.add("pubkeys", **values)
        return values["public_key_fingerprint"]

    def reservation(self, resid: str, key: str, parent: str | None = None, **more: Any) -> None:
        values = {
            "resid": resid, "parent_resid": parent or resid, "client_id": "portal", "client_user_id": "alice",
            "host": "h1", "public_key_fingerprint": key, "expires_at": self.now + DAY, **more,
        }  # fmt: skip
        self.add("reservations", **values)

    def everything(self) -> str:
        """Add one of each that can come; return the key's fingerprint."""
        self.tenant()
        self.admin()
        self.client()
        self.user()
        self.link()
        self.delegation()
        key = self.key()
        self.reservation("11111111-2222-4333-8444-555555555555", key)
        self.reservation("22222222-2222-4333-8444-555555555555", key, "11111111-2222-4333-8444-555555555555")
        self.add("hosts", host="h1", addr="192.0.2.*")
        return key

    def sqlite(self, path: Path) -> str:
        """Write a database of 0.2; return its URL."""
        connection = sqlite3.connect(path)
        connection.executescript((HERE / "old_sqlite.sql").read_text())
        for table, values in self.rows:
            plain = {name: _text(value) if name in TIMES else value for name, value in values.items()}
            marks = ", ".join("?" * len(plain))
            connection.execute(f"INSERT INTO {table} ({', '.join(plain)}) VALUES ({marks})", list(plain.values()))
        connection.commit()
        connection.close()
        return f"sqlite:///{path}"

    async def postgres(self, url: str) -> str:
        """Write a database of 0.3 into an empty database; return its URL."""
        connection = await asyncpg.connect(url)
        await connection.execute((HERE / "old_postgres.sql").read_text())
        for table, values in self.rows:
            marks = ", ".join(
                f"to_timestamp(${at})" if name in TIMES else f"${at}" for at, name in enumerate(values, 1)
            )  # fmt: skip
            await connection.execute(
                f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", *values.values()
            )  # fmt: skip
        await connection.close()
        return url


def _text(value: Any) -> Any:
    """Return a time as 0.2 writes it: sometimes with microseconds."""
    if not isinstance(value, int):
        return value
    return rfc3339(value).replace("Z", ".123456Z") if value % 2 else rfc3339(value)
