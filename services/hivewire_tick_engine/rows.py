"""Keeps simulations in their tables. The state is a snapshot and the events behind it, so that a commit writes what its
ticks did, however much waits and however long the history is."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from hivewire import codec
from hivewire.commands.tick_engine import Fork
from hivewire.errors import HivewireError
from hivewire.events import Event
from hivewire.events.simulation import CATALOGUE, SimulationEvent
from hivewire.subjects import TICK_ENGINE
from hivewire_service.core import Command, Message, Write
from hivewire_service.queries import load_queries
from hivewire_tick_engine.changes import Changes
from hivewire_tick_engine.core import TickEngine
from hivewire_tick_engine.evolve import evolve
from hivewire_tick_engine.recording import FORK_EVENTS_MAX
from hivewire_tick_engine.state import Simulation, Snapshot

SQL = load_queries("hivewire_tick_engine", "queries.sql")

CHUNK: Final = 2_000
"""Events that are read at a time."""
SNAPSHOT_EVENTS_MIN: Final = 2_000
"""A snapshot is taken after so many events, or after twice as many as it would hold things."""

Told = Callable[[Sequence[Event], Sequence[Any]], None]
"""Hears what a commit made true, and what follows from it."""


class TakeSnapshot(NamedTuple):
    """Write a snapshot of a simulation, although nothing happened in it."""

    simulation_id: str


class SimulationRows:
    """Keeps the core's simulations in Postgres. Implements `Rows`."""

    def __init__(self, core: TickEngine, *told: Told) -> None:
        self._core = core
        self._told = told
        self._unsaved: dict[str, int] = {}
        """Events behind the last snapshot."""

    async def load(self, connection: asyncpg.Connection, now: datetime) -> None:
        """Replace the core's state by what Postgres holds of simulations that are not completed."""
        del now
        live = [row["simulation_id"] for row in await connection.fetch(SQL.live)]
        self._unsaved.clear()
        self._core.restore({simulation.simulation_id: simulation async for simulation in self._read(connection, live)})

    async def load_for(self, connection: asyncpg.Connection, commands: Sequence[Command], now: datetime) -> None:
        """Bring completed simulations that are named, and the records that forks are made of."""
        del now
        self._core.forget_ended()
        named = {command.data.simulation_id for command in commands}
        named |= {command.data.fork_id for command in commands if isinstance(command.data, Fork)}
        await self.bring(connection, sorted(named))
        self._core.records.clear()
        for command in commands:
            if isinstance(command.data, Fork):
                source, at = command.data.simulation_id, command.data.at
                self._core.records[source, at] = await read_record(connection, source, at)

    async def bring(self, connection: asyncpg.Connection, simulation_ids: Sequence[str]) -> None:
        """Have these simulations in memory, as far as there are any."""
        missing = [name for name in simulation_ids if name not in self._core.simulations]
        if missing:
            async for simulation in self._read(connection, missing):
                self._core.add(simulation)

    def writes(self, events: Sequence[Event], records: Sequence[Any], now: datetime) -> Iterable[Write]:
        """The statements that make the tables equal to the state after `events`."""
        changes = Changes(self._core.simulations)
        changes.collect(events)
        if changes.touched:
            yield Write(SQL.write_simulations, (now, TICK_ENGINE, *_columns(changes.simulation_rows())))
        if changes.ticks:
            yield Write(SQL.insert_ticks, (TICK_ENGINE, *_columns(changes.ticks)))
        for sql, rows in (
            (SQL.insert_messages, list(changes.new_message_rows())),
            (SQL.update_messages, list(changes.changed_message_rows())),
        ):
            if rows:
                yield Write(sql, _columns(rows))
        snapshots = [*self._snapshots(changes), *self._asked_for(records)]
        if snapshots:
            yield Write(SQL.write_snapshots, (TICK_ENGINE, *_columns(snapshots)))

    async def messages(
        self,
        connection: asyncpg.Pool,  # noqa: ARG002
        events: Sequence[Event],
        records: Sequence[Any],
    ) -> Iterable[Message]:
        """Nothing by itself: who asks the agents hears of what was committed."""
        for told in self._told:
            told(events, records)
        return ()

    def _snapshots(self, changes: Changes) -> Iterable[tuple[str, int, str]]:
        for simulation_id, touched in changes.touched.items():
            simulation = self._core.simulations[simulation_id]
            unsaved = self._unsaved.get(simulation_id, 0) + touched.events
            if touched.reset or (unsaved >= SNAPSHOT_EVENTS_MIN and unsaved >= 2 * simulation.size):
                yield simulation_id, touched.last, codec.encode(simulation.snapshot()).decode()
                unsaved = 0
            self._unsaved[simulation_id] = unsaved

    def _asked_for(self, records: Sequence[Any]) -> Iterable[tuple[str, int, str]]:
        for record in records:
            if isinstance(record, TakeSnapshot):
                simulation = self._core.simulations[record.simulation_id]
                self._unsaved[record.simulation_id] = 0
                yield record.simulation_id, 0, codec.encode(simulation.snapshot()).decode()

    async def _read(self, connection: asyncpg.Connection, simulation_ids: list[str]) -> AsyncIterator[Simulation]:
        for row in await connection.fetch(SQL.load, simulation_ids):
            simulation, unsaved = await read_simulation(connection, row)
            self._unsaved[simulation.simulation_id] = unsaved
            yield simulation


async def read_simulation(connection: asyncpg.Connection, row: asyncpg.Record) -> tuple[Simulation, int]:
    """A simulation as its snapshot and the events behind it make it, and how many those are."""
    simulation_id = row["simulation_id"]
    simulations: dict[str, Simulation] = {}
    seq = row["first_seq"] - 1
    if row["body"] is not None:
        simulations[simulation_id] = restored(row)
        seq = row["snapshot_seq"]
    unsaved = 0
    async for event in read_events(connection, simulation_id, seq, row["last_seq"]):
        evolve(simulations, event)
        unsaved += 1
    return simulations[simulation_id], unsaved


def restored(row: asyncpg.Record) -> Simulation:
    """A simulation as its snapshot has it."""
    simulation = Simulation(row["simulation_id"], row["created_by"], row["title"])
    simulation.forked_from, simulation.forked_at = row["forked_from"], row["forked_at"]
    simulation.restore(msgspec.json.decode(row["body"], type=Snapshot))
    return simulation


async def read_record(connection: asyncpg.Connection, simulation_id: str, until_tick: int) -> list[SimulationEvent]:
    """The events of a simulation's present run up to those that belong to a tick; one too many if they are too many."""
    row = await connection.fetchrow(SQL.find, simulation_id)
    record: list[SimulationEvent] = []
    if row is not None and await begins(connection, row):
        async for event in read_events(connection, simulation_id, row["first_seq"] - 1, row["last_seq"]):
            if event.tick > until_tick or len(record) > FORK_EVENTS_MAX:
                break
            record.append(event)
    return record


async def begins(connection: asyncpg.Connection, row: asyncpg.Record) -> bool:
    """Whether the history of a simulation's present run is there from its beginning."""
    whole: bool = await connection.fetchval(SQL.has_event, TICK_ENGINE, row["first_seq"])
    return whole


async def read_events(
    connection: asyncpg.Connection, simulation_id: str, after_seq: int, last_seq: int
) -> AsyncIterator[SimulationEvent]:
    """A simulation's own events in order, some at a time.

    Raises:
        HivewireError: one cannot be read.
    """
    while after_seq < last_seq:
        rows = await connection.fetch(SQL.events, TICK_ENGINE, simulation_id, after_seq, last_seq, None, CHUNK)
        for row in rows:
            yield decoded(row)
        if len(rows) < CHUNK:
            return
        after_seq = rows[-1]["seq"]


def decoded(row: asyncpg.Record) -> SimulationEvent:
    """An event as it is stored.

    Raises:
        HivewireError: it cannot be read.
    """
    event = codec.decode_as(row["data"].encode(), CATALOGUE[row["type"]], row["type"])
    if isinstance(event, codec.Malformed):
        raise HivewireError(f"event {row['seq']} cannot be read: {event.reason}")
    return event


def _columns(rows: Iterable[tuple[Any, ...]]) -> tuple[tuple[Any, ...], ...]:
    return tuple(zip(*rows, strict=True))
