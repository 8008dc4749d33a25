"""Whether the tables of simulations are what the history adds up to."""

from collections.abc import Collection, Mapping
from typing import Final

import asyncpg
import msgspec

from hivewire import codec
from hivewire.events.simulation import SimulationCreated, SimulationEvent, SimulationReset
from hivewire.subjects import TICK_ENGINE
from hivewire_service.retention import Remains
from hivewire_tick_engine.changes import Changes, Message
from hivewire_tick_engine.evolve import evolve
from hivewire_tick_engine.rows import SQL, read_simulation, restored
from hivewire_tick_engine.state import Simulation, Snapshot
from hivewire_tick_engine.states import IllegalTransition

_BEGINS: Final[Mapping[str, str]] = {}
"""Whether a simulation is known says its table."""


async def differences(connection: asyncpg.Connection) -> list[str]:
    """Replay the tick engine's events and compare; one line for each thing that differs, none when all is well."""
    simulations: dict[str, Simulation] = {}
    statuses: dict[Message, str] = {}
    firsts: dict[str, int] = {}
    found: list[str] = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        # Where the first events are gone, the snapshot is all that there is to begin with.
        begun = {row["simulation_id"]: row for row in await connection.fetch(SQL.known_by_snapshots, TICK_ENGINE)}
        simulations |= {simulation_id: restored(row) for simulation_id, row in begun.items()}
        firsts |= {simulation_id: row["first_seq"] for simulation_id, row in begun.items()}
        remains = Remains(connection, TICK_ENGINE, _BEGINS)
        await remains.snapshots()
        async for seq, event in remains.events():
            partly = begun.get(event.simulation_id)
            if partly is not None and seq <= partly["snapshot_seq"]:
                continue
            try:
                evolve(simulations, event)
            except IllegalTransition as error:
                found.append(f"event {seq} of simulation {event.simulation_id}: {error}")
                continue
            if isinstance(event, (SimulationCreated, SimulationReset)):
                firsts[event.simulation_id] = seq
            if partly is None:
                _note(statuses, simulations, event)
        found += remains.found
        found += await _compare_simulations(connection, simulations, firsts)
        found += await _compare_messages(connection, statuses, begun.keys())
    return found


def _note(statuses: dict[Message, str], simulations: dict[str, Simulation], event: SimulationEvent) -> None:
    changes = Changes(simulations)
    changes.collect([event])
    statuses.update({key: fate.status for key, fate in changes.fates.items() if fate.sent or fate.status != "waiting"})


async def _compare_simulations(
    connection: asyncpg.Connection, simulations: dict[str, Simulation], firsts: dict[str, int]
) -> list[str]:
    found = []
    rows = {row["simulation_id"]: row for row in await connection.fetch(SQL.load, list(simulations))}
    for simulation_id, folded in simulations.items():
        row = rows.get(simulation_id)
        if row is None:
            found.append(f"simulation {simulation_id}: no row")
            continue
        loaded, _ = await read_simulation(connection, row)
        said, kept = _plain(folded.snapshot()), _plain(loaded.snapshot())
        if said != kept:
            found.append(f"simulation {simulation_id}: loaded as {kept}, its events say {said}")
        found += [
            f"simulation {simulation_id}: {name} is {row[name]!r}, its events say {value!r}"
            for name, value in _row(folded, firsts[simulation_id]).items()
            if row[name] != value
        ]
    return found


def _row(simulation: Simulation, first_seq: int) -> dict[str, object]:
    """What a simulation's row should say."""
    return {
        "title": simulation.title,
        "created_by": simulation.created_by,
        "forked_from": simulation.forked_from,
        "forked_at": simulation.forked_at,
        "status": simulation.status,
        "run": simulation.run,
        "first_seq": first_seq,
        "tick": simulation.tick,
        "waiting": len(simulation.waiting),
        "messages": simulation.totals.messages,
        "state_hash": simulation.state_hash,
        "config": codec.encode(simulation.config).decode(),
    }


def _plain(snapshot: Snapshot) -> object:
    """A snapshot without what no event says."""
    for dispatch in snapshot.dispatches:
        dispatch.since = None
    return msgspec.json.decode(msgspec.json.encode(snapshot))


async def _compare_messages(
    connection: asyncpg.Connection, statuses: dict[Message, str], partly: Collection[str]
) -> list[str]:
    rows = await connection.fetch(SQL.all_messages)
    kept = {tuple(row)[:3]: row["status"] for row in rows if row["simulation_id"] not in partly}
    return [
        f"message {key}: {kept.get(key, 'no row')}, its events say {statuses.get(key, 'nothing')}"
        for key in sorted(statuses.keys() | kept.keys())
        if statuses.get(key) != kept.get(key)
    ]
