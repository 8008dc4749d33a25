"""Alembic's environment. Executed by alembic, with the connection that `upgrade.py` opened."""

from alembic import context

from hivewire_service.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    version_table_schema=context.config.attributes["hive"],
)
with context.begin_transaction():
    context.run_migrations()
