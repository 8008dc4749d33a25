"""The tables of a hive, made and checked against the real Postgres."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from hivewire.errors import BadUsage, HivewireError, NotReachable
from hivewire.reads import Listing
from hivewire_service import history, migrations
from hivewire_service.audit import Audit
from hivewire_service.core import Kept
from hivewire_service.lease import Lease
from hivewire_service.migrations import VERSION_TABLE, known_revisions, migrate
from hivewire_service.migrations.upgrade import upgrade
from hivewire_service.store import Position, Reject, Store, Unit


@pytest.fixture
async def connection(hive) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(hive.postgres_dsn)
    yield connection
    await connection.close()


async def tables(connection: asyncpg.Connection, schema: str) -> set[str]:
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
    return {row["tablename"] for row in rows}


async def test_any_number_of_processes_may_migrate_at_once(hive, connection):
    await asyncio.gather(*(migrate(hive.postgres_dsn, hive.name) for _ in range(4)))
    assert await tables(connection, hive.name) >= {"agent", "task", "attempt", "event", "lease", VERSION_TABLE}
    assert await connection.fetchval(f"SELECT version_num FROM {hive.name}.{VERSION_TABLE}") == known_revisions()[-1]


async def test_a_second_time_nothing_changes_and_alembic_is_not_needed(hive, connection, monkeypatch):
    await migrate(hive.postgres_dsn, hive.name)
    await connection.execute(f"INSERT INTO {hive.name}.position (service) VALUES ('broker')")
    monkeypatch.setitem(sys.modules, "hivewire_service.migrations.upgrade", None)
    await migrate(hive.postgres_dsn, hive.name)
    assert await connection.fetchval(f"SELECT count(*) FROM {hive.name}.position") == 1


async def test_rejects_of_the_first_version_are_kept_and_added_to(hive, connection):
    await upgrade(hive.postgres_dsn, hive.name, "0001")
    await connection.execute(f"SET search_path TO {hive.name}")
    old = "INSERT INTO reject (service, subject, sender, reason, body, rejected_at) VALUES ('broker', 's', $1, 'no', 'b', $2)"
    then = datetime(2026, 1, 1, tzinfo=UTC)
    for sender in ("ann", "ann", "eve"):
        await connection.execute(old, sender, then)
    await migrate(hive.postgres_dsn, hive.name)
    store = Store(hive.postgres_dsn, hive.name, "broker")
    await store.open()
    term = await Lease(store, 60).acquire()
    await store.read_position(await store.owner())
    rejects = Audit().entries([Reject("s", "ann", "no", b"b", Kept.REPORT) for _ in range(100)], datetime.now(UTC))
    for _ in range(2):
        unit = Unit(datetime.now(UTC), Position(), rejects=rejects)
        await store.execute(term.epoch, store.statement(term.epoch, unit))
    kept = await connection.fetch(
        "SELECT sender, kind, sum(count) AS times, count(*) FROM reject GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert list(map(tuple, kept)) == [("ann", "message", 2, 2), ("ann", "report", 200, 21), ("eve", "message", 1, 1)]
    page = await history.rejects(connection, Listing(limit=100), "boss")
    assert [(item.count, item.last_at) for item in page.items[-3:]] == [(1, then)] * 3
    assert max(item.count for item in page.items) == 180
    await store.close()


async def test_hives_share_nothing_but_the_database(hive, connection):
    other = f"{hive.name}_other"
    await migrate(hive.postgres_dsn, hive.name)
    await migrate(hive.postgres_dsn, other)
    assert await tables(connection, other) == await tables(connection, hive.name)


async def test_tables_of_a_newer_hivewire_are_left_alone(hive, connection):
    await migrate(hive.postgres_dsn, hive.name)
    await connection.execute(f"UPDATE {hive.name}.{VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(HivewireError, match=r"are at revision 9999.*update hivewire"):
        await migrate(hive.postgres_dsn, hive.name)


async def test_an_old_postgres_is_named(hive, monkeypatch):
    monkeypatch.setattr(migrations, "POSTGRES_MAJOR_MIN", 999)
    with pytest.raises(HivewireError, match="is too old: hivewire needs 999 or newer"):
        await migrate(hive.postgres_dsn, hive.name)


async def test_a_refused_statement_changes_nothing_and_is_one_line(hive, connection):
    await connection.execute(f"CREATE SCHEMA {hive.name}")
    await connection.execute(f"CREATE TABLE {hive.name}.agent (other integer)")
    with pytest.raises(HivewireError, match='can\'t be brought up to date: relation "agent" already exists'):
        await migrate(hive.postgres_dsn, hive.name)
    assert await tables(connection, hive.name) == {"agent"}


@pytest.mark.parametrize("name", ["pg_hive", "information_schema", "Hive", "a-b", ""])
async def test_names_that_cannot_be_a_schema_are_refused(hive, name):
    with pytest.raises(BadUsage, match="can't be used"):
        await migrate(hive.postgres_dsn, name)


async def test_a_wrong_password_is_named_and_not_shown(hive):
    password = re.search(r"//hivewire:([^@]+)@", hive.postgres_dsn)[1]
    with pytest.raises(NotReachable, match="password authentication failed") as caught:
        await migrate(hive.postgres_dsn.replace(password, "guessed"), hive.name)
    assert "guessed" not in str(caught.value)


async def test_no_postgres_and_no_dsn_are_told_apart(hive, unused_tcp_port):
    with pytest.raises(NotReachable, match="is it running"):
        await migrate(f"postgresql://hivewire@127.0.0.1:{unused_tcp_port}/hivewire", hive.name)
    with pytest.raises(BadUsage, match="the Postgres DSN can't be used"):
        await migrate("nonsense", hive.name)
