"""Reservations, and what the TMS wire API needs beside what is there.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Nullable without a default: the release before this one goes on writing these tables, and NULL is "as before".
ADDED: tuple[tuple[str, str, type[sa.Text | sa.BigInteger]], ...] = (
    ("clients", "app_name", sa.Text),
    ("clients", "app_version", sa.Text),
    ("users", "mfa_until", sa.BigInteger),
    ("certificates", "reservation_id", sa.Text),
)
# A reservation goes with its client, its account link (and so its user and host), its delegation and its plain key.
OWNERS: tuple[tuple[str, list[str], list[str]], ...] = (
    ("clients", ["tenant", "client_id"], ["tenant", "client_id"]),
    ("account_links", ["tenant", "user", "host", "account"], ["tenant", "user", "host", "account"]),
    ("delegations", ["tenant", "delegation_id"], ["tenant", "delegation_id"]),
    ("public_keys", ["tenant", "public_key_fingerprint"], ["tenant", "fingerprint"]),
)


def upgrade() -> None:
    for table, column, kind in ADDED:
        op.add_column(table, sa.Column(column, kind(), nullable=True))
    op.create_index(op.f("uq_clients_tenant_app"), "clients", ["tenant", "app_name", "app_version"], unique=True)
    op.create_index(op.f("ix_hosts_host_created_at_tenant"), "hosts", ["host", "created_at", "tenant"])
    op.create_table(
        "reservations",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("reservation_id", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("delegation_id", sa.Text(), nullable=False),
        sa.Column("public_key_fingerprint", sa.Text(), nullable=True),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "reservation_id", name=op.f("pk_reservations")),
        *(
            sa.ForeignKeyConstraint(
                columns,
                [f"{table}.{name}" for name in referred],
                name=op.f("_".join(("fk", "reservations", *columns))),
                ondelete="CASCADE",
            )
            for table, columns, referred in OWNERS
        ),
    )
    for columns in (
        ["tenant", "client_id", "reservation_id"],
        ["tenant", "user", "reservation_id"],
        ["tenant", "parent_id"],
        ["tenant", "delegation_id"],
        ["tenant", "public_key_fingerprint", "expires_at"],
        ["expires_at"],
    ):
        op.create_index(op.f("_".join(("ix", "reservations", *columns))), "reservations", columns)
    op.create_table(
        "tms_v1_numbers",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
        sa.Column("kept", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_tms_v1_numbers")),
        sa.UniqueConstraint("tenant", "kind", "name", name=op.f("uq_tms_v1_numbers_tenant_kind_name")),
        sa.UniqueConstraint("kind", "kept", name=op.f("uq_tms_v1_numbers_kind_kept")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "tms_v1_hosts",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("addr", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "host", "addr", name=op.f("pk_tms_v1_hosts")),
        sa.ForeignKeyConstraint(
            ["tenant"], ["tenants.tenant"], name=op.f("fk_tms_v1_hosts_tenant"), ondelete="CASCADE"
        ),
    )
