"""Whether a run did exactly what it was told."""

from collections.abc import Sequence
from importlib import import_module

import asyncpg

_COUNTS = """
SELECT (SELECT count(*) FROM task WHERE status = 'completed') AS "completed tasks",
       (SELECT count(*) FROM attempt) AS attempts,
       (SELECT count(*) FROM event WHERE type = 'task.completed') AS "completions in history",
       (SELECT count(DISTINCT entity_id) FROM event WHERE type = 'task.completed') AS "tasks completed in history"
"""
_SERVICES = ("hivewire_broker", "hivewire_agent_gateway")


async def problems(connection: asyncpg.Connection, tasks: int) -> list[str]:
    """What is wrong with the rows and the history of a hive that was to complete so many tasks, each at once.

    The tables must also be what the history adds up to.
    """
    return await miscounted(connection, tasks) + await folded(connection, _SERVICES)


async def folded(connection: asyncpg.Connection, services: Sequence[str]) -> list[str]:
    """Where the tables of services are not what their history adds up to."""
    found = []
    for service in services:
        # The chassis knows no service by import; each has a fold.
        found += await import_module(f"{service}.fold").differences(connection)
    return found


async def miscounted(connection: asyncpg.Connection, tasks: int) -> list[str]:
    """The same by counting alone, where the history is too long to be added up."""
    counts = await connection.fetchrow(_COUNTS)
    assert counts is not None
    return [f"{count} {what}, should be {tasks}" for what, count in counts.items() if count != tasks]
