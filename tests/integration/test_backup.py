"""Backups hold all of a hive's tables as of one moment, and are restored whole or not at all."""

import stat
import zipfile
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from hivewire import Client
from hivewire.context import Context
from hivewire.errors import BadUsage, HivewireError
from hivewire_broker import fold
from hivewire_service.backup import MANIFEST, back_up, restore

from .gateway_process import broker


@pytest.fixture
async def elsewhere(hive) -> AsyncIterator[str]:
    """An empty database."""
    name = f"restored_{hive.name}"
    connection = await asyncpg.connect(hive.postgres_dsn)
    await connection.execute(f"CREATE DATABASE {name}")
    yield urlunsplit(urlsplit(hive.postgres_dsn)._replace(path=f"/{name}"))
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture
async def backup(hive, tmp_path):
    """Of a hive with some tasks and a message that could not be taken, while its broker runs."""
    boss = Context(nats_url=hive.nats_url, hive=hive.name, nats_creds=str(hive.credentials("publisher", "boss")))
    file = tmp_path / "hive.zip"
    async with broker(hive), Client.connect(context=boss) as client:
        first = await client.submit("first", payload={"text": "a\tb\n\\N"})
        await client.submit("second", depends_on=[first.id], labels={"a": "b"})
        await client.connection._nats.publish(f"{hive.name}.cmd.broker.submit.boss", b"no command")
        await client.cancel(first.id)
        await back_up(hive.postgres_dsn, hive.name, file)
    return file


async def rows(dsn: str, hive: str) -> dict[str, list[str]]:
    """Everything in the hive's tables but the leases, which go on."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": hive})
    try:
        names = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relispartition AND relname <> 'lease'",
            hive,
        )
        return {
            name: sorted(str(row[0]) for row in await connection.fetch(f"SELECT t::text FROM {name} AS t"))
            for (name,) in names
        }
    finally:
        await connection.close()


async def test_a_restored_hive_is_the_one_that_was_backed_up(hive, backup, elsewhere):
    manifest = await restore(elsewhere, backup)
    assert manifest.tables["task"].rows == 2
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    there = await rows(elsewhere, hive.name)
    assert {name: len(found) for name, found in there.items()} == {
        name: table.rows for name, table in manifest.tables.items() if name != "lease"
    } | {"schema_version": 1}
    here = await rows(hive.postgres_dsn, hive.name)
    assert {name: found for name, found in there.items() if name != "position"} == {
        name: found for name, found in here.items() if name != "position"
    }
    connection = await asyncpg.connect(elsewhere, server_settings={"search_path": hive.name})
    assert await fold.differences(connection) == []
    await connection.execute(
        "INSERT INTO reject (service, subject, sender, reason, body, rejected_at, last_at) "
        "VALUES ('b', 's', 's', 'r', '', now(), now())"
    )
    await connection.close()


async def test_a_hive_is_not_restored_over_another(hive, backup):
    with pytest.raises(BadUsage, match="there is a hive"):
        await restore(hive.postgres_dsn, backup)


async def test_what_is_damaged_leaves_nothing(hive, backup, elsewhere, tmp_path):
    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(backup) as whole, zipfile.ZipFile(damaged, "w") as less:
        for name in whole.namelist():
            less.writestr(name, b"" if name == "task.copy" else whole.read(name))
    with pytest.raises(HivewireError, match="the backup is damaged: task should have 2 rows and has 0"):
        await restore(elsewhere, damaged)
    connection = await asyncpg.connect(elsewhere)
    assert await connection.fetchval("SELECT to_regnamespace($1)", hive.name) is None
    await connection.close()


@pytest.mark.parametrize("content", [b"no archive", None])
async def test_what_is_no_backup_is_named(hive, tmp_path, content):
    file = tmp_path / "other.zip"
    if content is None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(MANIFEST, b"{}")
    else:
        file.write_bytes(content)
    with pytest.raises(BadUsage, match="is no backup of a hive"):
        await restore(hive.postgres_dsn, file)


async def test_there_is_nothing_to_back_up(hive, tmp_path):
    with pytest.raises(BadUsage, match="there is no hive"):
        await back_up(hive.postgres_dsn, "nothing", tmp_path / "file.zip")
    assert list(tmp_path.glob("*.zip")) == []
