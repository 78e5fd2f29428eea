"""Runs migrations on the connection it is given, inside the transaction that is already open on it."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

connection = context.config.attributes.get("connection")
if not isinstance(connection, Connection):
    raise RuntimeError("migrations run on a connection handed over in config.attributes")

# batch mode: SQLite changes a table by copying it
context.configure(connection=connection, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
