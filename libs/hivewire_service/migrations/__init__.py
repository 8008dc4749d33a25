"""The tables of a hive: a schema of its own in Postgres, brought up to date when a service starts.

A revision is a module in `versions/` that executes the files of the same number in `sql/`.
"""

from importlib.resources import files

import asyncpg

from hivewire.errors import BadUsage, HivewireError, NotReachable
from hivewire.subjects import hive_name
from hivewire_service.postgres import connect

POSTGRES_MAJOR_MIN = 15
VERSION_TABLE = "schema_version"
CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 10.0


async def migrate(dsn: str, hive: str) -> None:
    """Bring the schema of `hive` up to date; create it if there is none. Any number of processes may do so at once.

    Args:
        dsn: the Postgres database, as a libpq URI.
        hive: the hive's name, which is also its schema's.

    Raises:
        BadUsage: the DSN is malformed or a file that it names is missing, or `hive` cannot be the name of a schema.
        NotReachable: Postgres does not answer, or does not let us in.
        HivewireError: Postgres is too old, or the schema belongs to a newer hivewire.
    """
    if hive_name(hive).startswith("pg_") or hive == "information_schema":
        raise BadUsage(f"hive name {hive!r} can't be used: Postgres keeps it for itself, take another")
    connection = await connect(
        dsn,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=ANSWER_TIMEOUT_S,
        server_settings={"application_name": f"{hive} migrate"},
    )
    try:
        _check_server(connection)
        current = await _current_revision(connection, hive)
    except TimeoutError as error:
        raise NotReachable(f"Postgres took the connection and does not answer in {ANSWER_TIMEOUT_S:g} s") from error
    finally:
        connection.terminate()
    revisions = known_revisions()
    if current == revisions[-1]:
        return
    if current is not None and current not in revisions:
        raise HivewireError(
            f"the tables of hive {hive!r} are at revision {current}, and this hivewire knows them up to "
            f"{revisions[-1]}: update hivewire"
        )

    # Alembic and SQLAlchemy take longer to import than everything else of a start that has nothing to migrate.
    from hivewire_service.migrations.upgrade import upgrade

    await upgrade(dsn, hive)


def known_revisions() -> list[str]:
    """The revisions that this code has, oldest first. Their numbers are the heads of the files' names."""
    names = (file.name for file in files(__package__).joinpath("versions").iterdir())
    return sorted(name.partition("_")[0] for name in names if name[:4].isdigit() and name.endswith(".py"))


def _check_server(connection: asyncpg.Connection) -> None:
    version = connection.get_server_version()
    if version.major < POSTGRES_MAJOR_MIN:
        raise HivewireError(
            f"Postgres {version.major}.{version.minor} is too old: hivewire needs {POSTGRES_MAJOR_MIN} or newer"
        )


async def _current_revision(connection: asyncpg.Connection, hive: str) -> str | None:
    try:
        revision: str | None = await connection.fetchval(f'SELECT version_num FROM "{hive}".{VERSION_TABLE}')
    except asyncpg.UndefinedTableError:
        return None
    return revision
