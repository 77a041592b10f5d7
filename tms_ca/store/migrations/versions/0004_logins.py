"""Login records, uses, restrictions, and what becomes of sessions after a revocation.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Nullable without a default: the release before this one goes on writing these tables, and NULL is "as before".
ADDED: tuple[tuple[str, str, type[sa.Text | sa.Integer | sa.Boolean]], ...] = (
    ("tenants", "on_revocation", sa.Text),
    ("tenants", "warning_seconds", sa.Integer),
    ("tenants", "end_at_expiry", sa.Boolean),
    ("hosts", "restrictions", sa.Text),
    ("delegations", "restrictions", sa.Text),
    ("delegations", "uses_left", sa.Integer),
)
INDEXES: tuple[tuple[str, ...], ...] = (
    ("tenant", "id"),
    ("tenant", "client_id", "id"),
    ("tenant", "user", "id"),
    ("tenant", "host", "id"),
    ("tenant", "delegation_id", "id"),
    ("tenant", "ended_at", "id"),
)


def upgrade() -> None:
    for table, column, kind in ADDED:
        op.add_column(table, sa.Column(column, kind(), nullable=True))
    op.create_table(
        "logins",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("login_id", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("delegation_id", sa.Text(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("public_key_fingerprint", sa.Text(), nullable=False),
        sa.Column("remote_address", sa.Text(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("end_reason", sa.Text(), nullable=True),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("uses_left", sa.Integer(), nullable=True),
        sa.Column("force_command", sa.Text(), nullable=True),
        sa.Column("told_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logins")),
        sa.UniqueConstraint("tenant", "host", "login_id", name=op.f("uq_logins_tenant_host_login_id")),
    )
    for columns in INDEXES:
        op.create_index(op.f("_".join(("ix", "logins", *columns))), "logins", list(columns))
    for name, open_columns in (("open_node", ["tenant", "host", "node", "id"]), ("open_serial", ["serial"])):
        op.create_index(
            f"ix_logins_{name}",
            "logins",
            open_columns,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )
