"""Alembic runs this; the connection comes from store.migrate, never from a file."""

from alembic import context
from sqlalchemy import Connection

from tms_ca.store.tables import metadata


def run() -> None:
    """Run the migrations on the connection that store.migrate handed over."""
    connection: Connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",  # SQLite cannot alter most things in place
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
