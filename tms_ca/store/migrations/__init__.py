"""Alembic's home: env.py and versions/."""
