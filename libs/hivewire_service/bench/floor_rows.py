"""The rows of the floor: copies of a row that the services wrote, in tables like theirs, by the same kind of statements."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import asyncpg

from hivewire_service.core import Write
from hivewire_service.joined_columns import joined
from hivewire_service.same_values import sent_once

SCHEMA = "floor"
TABLES = ("task", "attempt", "event", "lease", "position")
OPEN = {"status": "assigned", "started_at": None, "ended_at": None}
"""How a task and its attempt are inserted; at their end these columns get their last values."""
TASK_CHANGES = ("status", "agent_id", "started_at", "ended_at", "result", "updated_at")
ATTEMPT_CHANGES = ("status", "started_at", "ended_at")

_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod)
FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum
"""
_FENCE = "SELECT 1 FROM lease WHERE service = 'broker' FOR SHARE"
_ADVANCE = "UPDATE position SET event_seq = event_seq + $1 WHERE service = 'broker'"


@dataclass(frozen=True, slots=True)
class Table:
    """A table with the row that is copied into it."""

    name: str
    types: Mapping[str, str]
    row: Mapping[str, Any]

    @classmethod
    async def like(cls, connection: asyncpg.Connection, hive: str, name: str) -> Self:
        """Make an empty table like the hive's of that name."""
        await connection.execute(f"CREATE TABLE {SCHEMA}.{name} (LIKE {hive}.{name} INCLUDING ALL)")
        types: dict[str, str] = dict(map(tuple, await connection.fetch(_COLUMNS, f"{SCHEMA}.{name}")))
        columns = ", ".join(f"{column}::text" if _is_sent_as_text(kind) else column for column, kind in types.items())
        row = await connection.fetchrow(f"SELECT {columns} FROM {hive}.{name} LIMIT 1")
        assert row is not None
        return cls(name, types, dict(row))

    async def insert(self, connection: asyncpg.Connection, count: int, **columns: Sequence[Any]) -> None:
        """Insert `count` copies of the row, but for these columns."""
        names = ", ".join(self.types)
        values = ", ".join(f"{name}::{kind}" if _is_sent_as_text(kind) else name for name, kind in self.types.items())
        sql = f"INSERT INTO {self.name} ({names}) SELECT {values} FROM {self._arrays(self.types)}"
        await _execute(connection, sql, (columns.get(name) or [value] * count for name, value in self.row.items()))

    async def update(self, connection: asyncpg.Connection, ids: Sequence[str], changes: Sequence[str]) -> None:
        """Give these columns of some tasks' rows the values of the copied row."""
        settings = ", ".join(f"{name} = new.{name}" for name in changes)
        sql = (
            f"UPDATE {self.name} SET {settings} FROM {self._arrays(['task_id', *changes])} "
            f"WHERE {self.name}.task_id = new.task_id"
        )
        await _execute(connection, sql, (ids, *([self.row[name]] * len(ids) for name in changes)))

    def _arrays(self, columns: Iterable[str]) -> str:
        kinds = ["text" if _is_sent_as_text(self.types[name]) else _short(self.types[name]) for name in columns]
        parameters = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(kinds, start=1))
        return f"unnest({parameters}) AS new ({', '.join(columns)})"


def _is_sent_as_text(kind: str) -> bool:
    """Arrays cannot be unnested by rows, and JSON goes as text anyway."""
    return kind.endswith("[]") or kind == "jsonb"


def _short(kind: str) -> str:
    return {"timestamp with time zone": "timestamptz", "double precision": "float8"}.get(kind, kind)


async def _execute(connection: asyncpg.Connection, sql: str, columns: Iterable[Sequence[Any]]) -> None:
    """Send the columns as the services do, which is the cheapest way known here."""
    (write,) = joined(sent_once([Write(sql, tuple(columns))]))
    await connection.execute(write.sql, *write.arguments)


class Rows:
    """All that the stand-in for the broker writes."""

    def __init__(self, connection: asyncpg.Connection, tables: Mapping[str, Table], data: Mapping[str, str]) -> None:
        self._connection = connection
        self._task, self._attempt, self._event = (tables[name] for name in ("task", "attempt", "event"))
        self.event_data = data
        """The data of an event of each type."""
        self._seq = 0

    @classmethod
    async def like_those_of(cls, connection: asyncpg.Connection, hive: str) -> Self:
        """Make the tables, on a connection that is given over to them."""
        await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        tables = {name: await Table.like(connection, hive, name) for name in TABLES}
        for name in ("lease", "position"):
            await connection.execute(f"INSERT INTO {SCHEMA}.{name} SELECT * FROM {hive}.{name}")
        samples = await connection.fetch(f"SELECT DISTINCT ON (type) type, data FROM {hive}.event")
        data: dict[str, str] = dict(map(tuple, samples))
        await connection.execute(f"SET search_path = {SCHEMA}")
        return cls(connection, tables, data)

    async def commit(self, begun: Sequence[str], ended: Sequence[str], events: Sequence[tuple[str, str]]) -> None:
        """Write tasks that begin, tasks that end, and events as (type, task), in one transaction."""
        connection = self._connection
        async with connection.transaction():
            await connection.fetchval(_FENCE)
            if begun:
                count = len(begun)
                still_open = {name: [value] * count for name, value in OPEN.items()}
                ordinals = range(self._seq, self._seq + count)
                await self._task.insert(connection, count, task_id=begun, ordinal=ordinals, **still_open)
                await self._attempt.insert(connection, count, task_id=begun, **still_open)
            if ended:
                await self._task.update(connection, ended, TASK_CHANGES)
                await self._attempt.update(connection, ended, ATTEMPT_CHANGES)
            await self._event.insert(
                connection,
                len(events),
                seq=range(self._seq, self._seq + len(events)),
                type=[event_type for event_type, _ in events],
                entity_id=[task_id for _, task_id in events],
                data=[self.event_data[event_type] for event_type, _ in events],
            )
            await connection.execute(_ADVANCE, len(events))
        self._seq += len(events)
