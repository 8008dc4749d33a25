"""Whether the tables of simulations are what the history adds up to."""

import asyncpg
import msgspec

from hivewire import codec
from hivewire.events.simulation import CATALOGUE, SimulationCreated, SimulationEvent, SimulationReset
from hivewire.subjects import TICK_ENGINE
from hivewire_tick_engine.changes import Changes, Message
from hivewire_tick_engine.evolve import evolve
from hivewire_tick_engine.rows import SQL, read_simulation
from hivewire_tick_engine.state import Simulation, Snapshot
from hivewire_tick_engine.states import IllegalTransition


async def differences(connection: asyncpg.Connection) -> list[str]:
    """Replay the tick engine's events and compare; one line for each thing that differs, none when all is well."""
    simulations: dict[str, Simulation] = {}
    statuses: dict[Message, str] = {}
    firsts: dict[str, int] = {}
    found: list[str] = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        async for row in connection.cursor(SQL.history, TICK_ENGINE):
            event = codec.decode_as(row["data"].encode(), CATALOGUE[row["type"]], row["type"])
            if isinstance(event, codec.Malformed):
                found.append(f"event {row['seq']}: {event.reason}")
                continue
            try:
                evolve(simulations, event)
            except IllegalTransition as error:
                found.append(f"event {row['seq']} of simulation {event.simulation_id}: {error}")
                continue
            if isinstance(event, (SimulationCreated, SimulationReset)):
                firsts[event.simulation_id] = row["seq"]
            _note(statuses, simulations, event)
        found += await _compare_simulations(connection, simulations, firsts)
        found += await _compare_messages(connection, statuses)
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


async def _compare_messages(connection: asyncpg.Connection, statuses: dict[Message, str]) -> list[str]:
    kept = {tuple(row)[:3]: row["status"] for row in await connection.fetch(SQL.all_messages)}
    return [
        f"message {key}: {kept.get(key, 'no row')}, its events say {statuses.get(key, 'nothing')}"
        for key in sorted(statuses.keys() | kept.keys())
        if statuses.get(key) != kept.get(key)
    ]
