"""What `hivewire doctor` finds in a hive's tables, compared with its streams."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import asyncpg

from hivewire.errors import HivewireError
from hivewire.finding import Finding
from hivewire.subjects import SERVICES
from hivewire_service.migrations import VERSION_TABLE, known_revisions
from hivewire_service.postgres import connect

CONNECT_S = 2.0
CLOCK_S_MAX = 1.0
"""Leases, deadlines and beats are compared by clocks that may differ by so much."""
WAITING_MAX = 5_000
"""Commands, or events, that may wait before something is wrong."""
_LEASES = "SELECT service, owner, epoch, expires_at > clock_timestamp() AS held FROM lease"
_POSITIONS = "SELECT service, command_seq, event_seq - published_seq AS backlog FROM position"


async def examine(dsn: str, hive: str, last_commands: Mapping[str, int]) -> dict[str, Finding]:
    """Look at everything that Postgres knows.

    Args:
        dsn: where the tables are.
        hive: whose.
        last_commands: by service the number of the last command in its stream, as far as that is known.
    """
    try:
        connection = await connect(dsn, timeout=CONNECT_S, server_settings={"search_path": hive})
    except HivewireError as error:
        return {"postgres": Finding(False, str(error), "start it, or check HIVEWIRE_POSTGRES_DSN")}
    try:
        version = await connection.fetchval("SHOW server_version")
        found = {"postgres": Finding(True, f"Postgres {version} answers"), "clock": await _clock(connection)}
        found["schema"] = schema = await _schema(connection, hive)
        if schema.well:
            found |= await _leases(connection) | await _lags(connection, last_commands)
    finally:
        await connection.close()
    return found


async def _clock(connection: asyncpg.Connection) -> Finding:
    before = datetime.now(UTC)
    theirs = await connection.fetchval("SELECT clock_timestamp()")
    after = datetime.now(UTC)
    apart_s = max((before - theirs).total_seconds(), (theirs - after).total_seconds(), 0.0)
    says = f"Postgres' clock is {apart_s:.3f} s from this machine's, or less"
    return Finding(apart_s <= CLOCK_S_MAX, says, None if apart_s <= CLOCK_S_MAX else "keep the machines' time by NTP")


async def _schema(connection: asyncpg.Connection, hive: str) -> Finding:
    try:
        revision = await connection.fetchval(f"SELECT version_num FROM {VERSION_TABLE}")
    except asyncpg.UndefinedTableError:
        return Finding(False, f"there are no tables of hive {hive!r}", "start its services, which make them")
    newest = known_revisions()[-1]
    if revision == newest:
        return Finding(True, f"the tables are at revision {revision}")
    advice = "restart the services, which update the tables" if revision < newest else "update hivewire here"
    return Finding(False, f"the tables are at revision {revision}, this hivewire is at {newest}", advice)


async def _leases(connection: asyncpg.Connection) -> dict[str, Finding]:
    rows: dict[str, Any] = {row["service"]: row for row in await connection.fetch(_LEASES)}
    return {f"owner of {service}": _lease(rows.get(service)) for service in SERVICES}


def _lease(row: Any) -> Finding:
    if row is None:
        return Finding(False, "it never had one", "start the service")
    if not row["held"]:
        return Finding(False, f"none: {row['owner']} let the lease run out", "start the service, or look into its log")
    return Finding(True, f"{row['owner']}, epoch {row['epoch']}")


async def _lags(connection: asyncpg.Connection, last_commands: Mapping[str, int]) -> dict[str, Finding]:
    found = {}
    for row in await connection.fetch(_POSITIONS):
        service, backlog = row["service"], row["backlog"]
        waiting = max(0, last_commands.get(service, row["command_seq"]) - row["command_seq"])
        well = waiting <= WAITING_MAX and backlog <= WAITING_MAX
        says = f"{waiting} commands to decide, {backlog} events to publish"
        advice = None if well else "look at its CPU, at Postgres' disk, and whether NATS has room"
        found[f"lag of {service}"] = Finding(well, says, advice)
    return found
