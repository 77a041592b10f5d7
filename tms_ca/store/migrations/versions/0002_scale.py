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

REPLACED = (
    ("identities", ("tenant", "user")),
    ("delegations", ("tenant", "client_id")),
    ("revocations", ("tenant", "selector", "value")),
    ("revoked_certificates", ("tenant", "valid_before")),
)
ADDED = (
    ("credentials", ("expires_at",)),
    ("throttles", ("retry_at",)),
    ("sessions", ("expires_at",)),
    ("identities", ("tenant", "user", "issuer", "subject")),
    ("account_links", ("tenant", "user", "link_id")),
    ("account_links", ("tenant", "host", "link_id")),
    ("delegations", ("tenant", "user", "delegation_id")),
    ("delegations", ("tenant", "client_id", "delegation_id")),
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
    # Rows that are there have no number of a change: they are read when a process first builds a KRL.
    op.add_column("revoked_certificates", sa.Column("change", sa.BigInteger(), nullable=True))
    op.add_column("forbidden_keys", sa.Column("change", sa.BigInteger(), nullable=True))
    op.add_column("audit_chains", sa.Column("start_seq", sa.BigInteger(), nullable=True))
    op.add_column("audit_chains", sa.Column("start_hash", sa.LargeBinary(), nullable=True))
    op.add_column("audit_chains", sa.Column("start_mac", sa.LargeBinary(), nullable=True))
    for table, columns in REPLACED:
        op.drop_index(_name(table, columns), table_name=table)
    for table, columns in ADDED:
        op.create_index(_name(table, columns), table, list(columns))
