"""Escrowed public keys.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# A key goes with its client, its account link (and so its user and host) and its delegation.
OWNERS: tuple[tuple[str, list[str]], ...] = (
    ("clients", ["tenant", "client_id"]),
    ("account_links", ["tenant", "user", "host", "account"]),
    ("delegations", ["tenant", "delegation_id"]),
)


def upgrade() -> None:
    op.create_table(
        "public_keys",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("key_type", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("delegation_id", sa.Text(), nullable=False),
        sa.Column("critical_options", sa.Text(), nullable=False),
        sa.Column("extensions", sa.Text(), nullable=False),
        sa.Column("valid_after", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("limited_by", sa.Text(), nullable=False),
        sa.Column("ttl_seconds", sa.Integer(), nullable=True),
        sa.Column("max_uses", sa.Integer(), nullable=True),
        sa.Column("uses_left", sa.Integer(), nullable=True),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("revocation_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "fingerprint", name=op.f("pk_public_keys")),
        *(
            sa.ForeignKeyConstraint(
                columns,
                [f"{table}.{name}" for name in columns],
                name=op.f("_".join(("fk", "public_keys", *columns))),
                ondelete="CASCADE",
            )
            for table, columns in OWNERS
        ),
    )
    for columns in (
        ["tenant", "user", "fingerprint"],
        ["tenant", "client_id", "fingerprint"],
        ["tenant", "host", "fingerprint"],
        ["tenant", "delegation_id", "fingerprint"],
        ["expires_at"],
    ):
        op.create_index(op.f("_".join(("ix", "public_keys", *columns))), "public_keys", columns)
