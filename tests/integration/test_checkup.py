"""What the doctor finds in Postgres, and what it says to do."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from hivewire.subjects import SERVICES
from hivewire_service.checkup import examine
from hivewire_service.migrations import VERSION_TABLE, migrate


@pytest.fixture
async def tables(hive) -> AsyncIterator[asyncpg.Connection]:
    """A hive whose services all have an owner."""
    await migrate(hive.postgres_dsn, hive.name)
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name})
    for service in SERVICES:
        await connection.execute(
            "INSERT INTO lease VALUES ($1, 1, 'here:1', clock_timestamp(), clock_timestamp() + interval '1 h')", service
        )
        await connection.execute("INSERT INTO position (service) VALUES ($1)", service)
    yield connection
    await connection.close()


async def faults(hive, **last_commands: int) -> dict[str, str]:
    """What is not well, with what to do about it."""
    found = await examine(hive.postgres_dsn, hive.name, last_commands)
    return {name: f"{finding.says}: {finding.advice}" for name, finding in found.items() if not finding.well}


@pytest.mark.usefixtures("tables")
async def test_a_healthy_hive(hive):
    assert await faults(hive) == {}


async def test_nobody_listens():
    found = await examine("postgresql://127.0.0.1:1/hivewire", "hive", {})
    assert "can't be reached" in found["postgres"].says


async def test_there_are_no_tables(hive):
    assert await faults(hive) == {
        "schema": f"there are no tables of hive '{hive.name}': start its services, which make them"
    }


@pytest.mark.parametrize(("revision", "advice"), [("0000", "restart the services"), ("9999", "update hivewire here")])
async def test_tables_of_another_version(hive, tables, revision, advice):
    await tables.execute(f"UPDATE {VERSION_TABLE} SET version_num = $1", revision)
    assert advice in (await faults(hive))["schema"]


async def test_owners_that_are_gone(hive, tables):
    await tables.execute("UPDATE lease SET expires_at = clock_timestamp() WHERE service = 'broker'")
    await tables.execute("DELETE FROM lease WHERE service = 'conversation'")
    found = await faults(hive)
    assert "here:1 let the lease run out: start the service" in found["owner of broker"]
    assert "it never had one: start the service" in found["owner of conversation"]
    assert len(found) == 2


async def test_what_piles_up(hive, tables):
    await tables.execute("UPDATE position SET event_seq = 9000 WHERE service = 'tick-engine'")
    found = await faults(hive, broker=6000)
    assert "6000 commands to decide, 0 events" in found["lag of broker"]
    assert "0 commands to decide, 9000 events" in found["lag of tick-engine"]
