"""Join tokens, nodes, host certificates, reports, and which KRL covers which revocation.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("credentials", sa.Column("node", sa.Text(), nullable=True))
    op.add_column("revocations", sa.Column("change", sa.BigInteger(), nullable=True))
    op.add_column("revocations", sa.Column("at_ms", sa.BigInteger(), nullable=True))
    op.create_table(
        "join_tokens",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "host"], ["hosts.tenant", "hosts.host"],
            name=op.f("fk_join_tokens_tenant_host"), ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_join_tokens")),
        sa.UniqueConstraint("tenant", "host", name=op.f("uq_join_tokens_tenant_host")),
    )  # fmt: skip
    op.create_index(op.f("ix_join_tokens_expires_at"), "join_tokens", ["expires_at"])
    op.create_table(
        "host_nodes",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("ssh_host_keys", sa.Text(), nullable=False),
        sa.Column("joined_at", sa.BigInteger(), nullable=True),
        sa.Column("reported_ms", sa.BigInteger(), nullable=True),
        sa.Column("user_ca_fingerprints", sa.Text(), nullable=True),
        sa.Column("krl_version", sa.BigInteger(), nullable=True),
        sa.Column("trust_epoch", sa.BigInteger(), nullable=True),
        sa.Column("clock_offset_ms", sa.BigInteger(), nullable=True),
        sa.Column("openssh_version", sa.Text(), nullable=True),
        sa.Column("tms_host_version", sa.Text(), nullable=True),
        sa.Column("when_away", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "host"], ["hosts.tenant", "hosts.host"],
            name=op.f("fk_host_nodes_tenant_host"), ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "host", "node", name=op.f("pk_host_nodes")),
    )  # fmt: skip
    op.create_table(
        "krl_sightings",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("krl_version", sa.BigInteger(), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "host", "node"], ["host_nodes.tenant", "host_nodes.host", "host_nodes.node"],
            name=op.f("fk_krl_sightings_tenant_host_node"), ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "host", "node", "krl_version", name=op.f("pk_krl_sightings")),
    )  # fmt: skip
    op.create_index(op.f("ix_krl_sightings_first_ms"), "krl_sightings", ["first_ms"])
    op.create_table(
        "krl_versions",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sa.Column("generated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant"], ["tenants.tenant"], name=op.f("fk_krl_versions_tenant"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant", "version", name=op.f("pk_krl_versions")),
    )
    op.create_index(op.f("ix_krl_versions_tenant_changes"), "krl_versions", ["tenant", "changes"])
    op.execute(
        "INSERT INTO krl_versions (tenant, version, changes, generated_at) "
        "SELECT tenant, version, changes, generated_at FROM krls WHERE version > 0"
    )
    op.create_table(
        "host_certificates",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("public_key_fingerprint", sa.Text(), nullable=False),
        sa.Column("ca_fingerprint", sa.Text(), nullable=False),
        sa.Column("principals", sa.Text(), nullable=False),
        sa.Column("valid_after", sa.BigInteger(), nullable=False),
        sa.Column("valid_before", sa.BigInteger(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_host_certificates")),
        sa.UniqueConstraint("serial", name=op.f("uq_host_certificates_serial")),
    )
    for columns in (["tenant", "host", "id"], ["tenant", "valid_before"]):
        op.create_index(op.f("_".join(("ix_host_certificates", *columns))), "host_certificates", columns)
