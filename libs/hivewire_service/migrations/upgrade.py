"""Runs alembic. Imported only when a schema is behind."""

from importlib.resources import files

import alembic.command
import asyncpg
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from hivewire.errors import HivewireError


async def upgrade(dsn: str, hive: str, revision: str = "head") -> None:
    """Bring the schema of `hive` to a revision, by default the newest, in one transaction.

    Raises:
        HivewireError: Postgres refused a statement or went away; nothing changed.
    """

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(dsn)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await _upgrade_locked(connection, hive, revision)
    except (DBAPIError, asyncpg.PostgresError, OSError) as error:
        reason = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig else error
        raise HivewireError(f"the tables of hive {hive!r} can't be brought up to date: {reason}") from error


async def _upgrade_locked(connection: AsyncConnection, hive: str, revision: str) -> None:
    # A lock of the transaction, not of the session, which a connection pooler would leave behind.
    lock = {"name": f"hivewire migrate {hive}"}
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), lock)
    await connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{hive}"'))
    await connection.execute(text(f'SET LOCAL search_path TO "{hive}"'))
    await connection.run_sync(_run_revisions, hive, revision)


def _run_revisions(connection: Connection, hive: str, revision: str) -> None:
    config = Config(attributes={"connection": connection, "hive": hive})
    config.set_main_option("script_location", str(files(__package__)).replace("%", "%%"))
    alembic.command.upgrade(config, revision)
