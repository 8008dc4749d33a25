"""Backups of a hive: everything it knows is in its tables, so a backup is those, as of one moment.

The file is a zip archive: `manifest.json` and a member a table, in COPY's text format, which every Postgres reads. Streams
are not in it: their owners make them again and publish the recent events.
"""

import os
import zipfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import IO

import asyncpg
import msgspec

from hivewire.errors import BadUsage, HivewireError
from hivewire.subjects import hive_name
from hivewire_service.migrations import VERSION_TABLE, known_revisions, migrate
from hivewire_service.postgres import connect

FORMAT = 1
MANIFEST = "manifest.json"
CHUNK_BYTES = 1 << 20
_TABLES = """
SELECT relation.relname AS name, array_agg(attribute.attname::text ORDER BY attribute.attnum) AS columns
FROM pg_class AS relation
JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid
WHERE relation.relnamespace = $1::regnamespace AND relation.relkind IN ('r', 'p') AND NOT relation.relispartition
  AND relation.relname <> $2 AND attribute.attnum > 0 AND NOT attribute.attisdropped AND attribute.attgenerated = ''
GROUP BY relation.relname
ORDER BY relation.relname
"""
_COUNTERS = """
SELECT relation.relname AS name, attribute.attname AS column
FROM pg_class AS relation JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid
WHERE relation.relnamespace = $1::regnamespace AND relation.relkind = 'r' AND attribute.attidentity <> ''
"""


class Table(msgspec.Struct):
    """What is kept of one table."""

    columns: list[str]
    rows: int


class Manifest(msgspec.Struct, kw_only=True):
    """What a backup says of itself."""

    format: int
    hivewire: str
    hive: str
    revision: str
    taken_at: datetime
    event_days: list[date]
    """The days of which there are events."""
    tables: dict[str, Table]


async def back_up(dsn: str, hive: str, file: Path) -> Manifest:
    """Write the hive's tables to a file, mode 0600. The hive may work meanwhile.

    Raises:
        BadUsage: the hive has no tables, or the file cannot be written.
        NotReachable: Postgres does not answer.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            async with (
                _connected(dsn) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                manifest = await _write(connection, hive_name(hive), archive)
        part.replace(file)
    except OSError as error:
        raise BadUsage(f"cannot write {file}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return manifest


async def restore(dsn: str, file: Path) -> Manifest:
    """Make a hive of a backup, in a database that has no hive of this name.

    Raises:
        BadUsage: the file is no backup or of a newer hivewire, or the hive is there already.
        NotReachable: Postgres does not answer.
        HivewireError: Postgres refused something; nothing is left of it.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = _manifest(file, archive)
            async with _connected(dsn) as connection:
                await _read(connection, dsn, manifest, archive)
    except OSError as error:
        raise BadUsage(f"cannot read {file}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, KeyError, EOFError, ValueError) as error:
        raise BadUsage(f"{file} is no backup of a hive, or is damaged: {error}") from error
    await migrate(dsn, manifest.hive)
    return manifest


async def _write(connection: asyncpg.Connection, hive: str, archive: zipfile.ZipFile) -> Manifest:
    try:
        revision = await connection.fetchval(f'SELECT version_num FROM "{hive}".{VERSION_TABLE}')
    except asyncpg.UndefinedTableError:
        raise BadUsage(f"there is no hive {hive!r} in this database") from None
    manifest = Manifest(
        format=FORMAT,
        hivewire=version("hivewire"),
        hive=hive,
        revision=revision,
        taken_at=datetime.now(UTC),
        event_days=[
            row["day"]
            for row in await connection.fetch(
                f"SELECT DISTINCT (recorded_at AT TIME ZONE 'UTC')::date AS day FROM {hive}.event"
            )
        ],
        tables={},
    )
    for row in await connection.fetch(_TABLES, f'"{hive}"', VERSION_TABLE):
        columns = ", ".join(f'"{column}"' for column in row["columns"])
        with archive.open(_member(row["name"]), "w", force_zip64=True) as member:
            query = f'SELECT {columns} FROM "{hive}"."{row["name"]}"'
            status = await connection.copy_from_query(query, output=_into(member))
        manifest.tables[row["name"]] = Table(row["columns"], _rows(status))
    archive.writestr(MANIFEST, msgspec.json.encode(manifest))
    return manifest


def _manifest(file: Path, archive: zipfile.ZipFile) -> Manifest:
    manifest = msgspec.json.decode(archive.read(MANIFEST), type=Manifest)
    if manifest.format != FORMAT or manifest.revision not in known_revisions():
        raise BadUsage(
            f"{file} was written by hivewire {manifest.hivewire}: restore it with that version or a newer one"
        )
    return manifest


async def _read(connection: asyncpg.Connection, dsn: str, manifest: Manifest, archive: zipfile.ZipFile) -> None:
    # Imports alembic, which nothing but a change of the schema needs.
    from hivewire_service.migrations.upgrade import upgrade

    hive = hive_name(manifest.hive)
    if await connection.fetchval("SELECT to_regnamespace($1)", f'"{hive}"') is not None:
        raise BadUsage(f"there is a hive {hive!r} in this database: restore into another, or drop its schema first")
    await upgrade(dsn, hive, manifest.revision)
    try:
        async with connection.transaction():
            for day in manifest.event_days:
                await connection.execute(
                    f'CREATE TABLE "{hive}".event_{day:%Y%m%d} PARTITION OF "{hive}".event '
                    f"FOR VALUES FROM ('{day}Z') TO ('{day + timedelta(days=1)}Z')"
                )
            for name, table in manifest.tables.items():
                await _fill(connection, hive, name, table, archive)
            for name, column in await connection.fetch(_COUNTERS, f'"{hive}"'):
                await connection.execute(
                    f"""SELECT setval(pg_get_serial_sequence('"{hive}"."{name}"', '{column}'), max("{column}"))"""
                    f' FROM "{hive}"."{name}"'
                )
    except BaseException:
        await connection.execute(f'DROP SCHEMA "{hive}" CASCADE')
        raise


async def _fill(connection: asyncpg.Connection, hive: str, name: str, table: Table, archive: zipfile.ZipFile) -> None:
    with archive.open(_member(name)) as member:
        try:
            status = await connection.copy_to_table(
                name, source=_chunks(member), columns=table.columns, schema_name=hive
            )
        except asyncpg.PostgresError as error:
            raise HivewireError(f"Postgres refused the rows of {name}: {error}") from error
    if _rows(status) != table.rows:
        raise HivewireError(f"the backup is damaged: {name} should have {table.rows} rows and has {_rows(status)}")


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(dsn, timeout=10, server_settings={"timezone": "UTC"})
    try:
        yield connection
    finally:
        await connection.close()


def _into(member: IO[bytes]) -> Callable[[bytes], Coroutine[None, None, None]]:
    async def write(chunk: bytes) -> None:
        member.write(chunk)

    return write


async def _chunks(member: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := member.read(CHUNK_BYTES):
        yield chunk


def _member(table: str) -> str:
    return f"{table}.copy"


def _rows(status: str) -> int:
    return int(status.rpartition(" ")[2])
