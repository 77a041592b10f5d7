"""Floor 1: SQL. Tables and statements are written once, for SQLite and for PostgreSQL."""
