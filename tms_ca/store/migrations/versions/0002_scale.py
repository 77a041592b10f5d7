"""Indexes for pages and upkeep, changes of the KRL, starting points of pruned audit chains.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REPLACED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("identities", ("tenant", "user")),
    ("delegations", ("tenant", "client_id")),
    ("revocations", ("tenant", "selector", "value")),
    ("revoked_certificates", ("tenant", "valid_before")),
)
ADDED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("credentials", ("expires_at",)),
    ("sessions", ("expires_at",)),
    ("identities", ("tenant", "user", "issuer", "subject")),
    ("account_links", ("tenant", "user", "link_id")),
    ("account_links", ("tenant", "host", "link_id")),
    ("delegations", ("tenant", "user", "delegation_id")),
    ("delegations", ("tenant", "client_id", "delegation_id")),
    ("certificates", ("tenant", "id")),
    ("certificates", ("tenant", "valid_before")),
    ("revocations", ("tenant", "selector", "value", "revocation_id")),
    ("revocations", ("tenant", "selector", "revocation_id")),
    ("revoked_certificates", ("tenant", "valid_before", "serial")),
    ("revoked_certificates", ("tenant", "change", "serial")),
    ("forbidden_keys", ("tenant", "standing", "change", "fingerprint")),
)


def _name(table: str, columns: tuple[str, ...]) -> str:
    return op.f("_".join(("ix", table, *columns)))


def upgrade() -> None:
    op.add_column("revoked_certificates", sa.Column("change", sa.BigInteger(), nullable=True))
    op.add_column("forbidden_keys", sa.Column("change", sa.BigInteger(), nullable=True))
    op.execute("UPDATE revoked_certificates SET change = 0")  # before every change that has a number
    op.execute("UPDATE forbidden_keys SET change = 0 WHERE standing = 'revoked'")
    op.add_column("audit_chains", sa.Column("start_seq", sa.BigInteger(), nullable=True))
    op.add_column("audit_chains", sa.Column("start_hash", sa.LargeBinary(), nullable=True))
    op.add_column("audit_chains", sa.Column("start_mac", sa.LargeBinary(), nullable=True))
    for table, columns in REPLACED:
        op.drop_index(_name(table, columns), table_name=table)
    for table, columns in ADDED:
        op.create_index(_name(table, columns), table, list(columns))
