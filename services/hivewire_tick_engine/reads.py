"""Reads about simulations, answered from Postgres by any instance of the service."""

from collections.abc import AsyncIterator, Mapping

import asyncpg
import msgspec

from hivewire.errors import HivewireError
from hivewire.events.simulation import SimulationEvent
from hivewire.ids import event_id
from hivewire.reads import Listing, ListMessages, ListSimulationEvents, OneSimulation, TwoSimulations
from hivewire.simulation import (
    AgentSpec,
    AgentState,
    Comparison,
    Connection,
    MessageView,
    SimulationConfig,
    SimulationView,
    Topology,
    Traffic,
    agent_graph,
)
from hivewire.subjects import TICK_ENGINE
from hivewire.views import EventView, Page
from hivewire_service.answer import Query
from hivewire_service.core import Refusal
from hivewire_service.history import decode_cursor, encode_cursor
from hivewire_tick_engine import recording
from hivewire_tick_engine.rows import CHUNK, SQL, begins, read_events

SCANNED_MAX = 50_000
"""Events that one page of a filtered listing looks at; the next page goes on behind them."""

_config = msgspec.json.Decoder(SimulationConfig)


class Marks(msgspec.Struct, rename={"sender": "from", "target": "to"}):
    """The fields of an event that listings filter by."""

    tick: int = 0
    sender: str | None = None
    target: str | None = None
    agent_id: str | None = None


_marks = msgspec.json.Decoder(Marks)


async def simulations(connection: asyncpg.Connection, query: Listing, _sender: str) -> Page:
    """A page of all simulations, the greatest id (with UUIDv7, the newest) first."""
    rows = await connection.fetch(SQL.list, query.cursor, query.limit + 1)
    items = [_view(row) for row in rows[: query.limit]]
    return Page(items, items[-1].simulation_id if len(rows) > query.limit else None)


async def simulation(connection: asyncpg.Connection, query: OneSimulation, _sender: str) -> SimulationView | Refusal:
    """One simulation with its agents and its configuration."""
    row = await connection.fetchrow(SQL.find, query.simulation_id)
    if row is None:
        return _unknown(query.simulation_id)
    open_ones: dict[str, list[str]] = {}
    for dispatch in await connection.fetch(SQL.open_dispatches, query.simulation_id, row["run"]):
        open_ones.setdefault(dispatch["target"], []).append(dispatch["dispatch_id"])
    view = _view(row)
    view.config = msgspec.Raw(row["config"].encode())
    agents = _config.decode(row["config"]).agents
    remote = [agent.id for agent in agents if agent.agent_type == "remote"]
    registered = {found["agent_id"]: found for found in await connection.fetch(SQL.registered, remote)}
    view.agents = [_agent(agent, open_ones.get(agent.id, []), registered.get(agent.id)) for agent in agents]
    return view


def _agent(agent: AgentSpec, dispatches: list[str], registered: asyncpg.Record | None) -> AgentState:
    connection: Connection | None = None
    if agent.agent_type == "remote":
        connection = registered["state"] if registered else "unregistered"
    return AgentState(
        id=agent.id,
        agent_type=agent.agent_type,
        status="waiting" if dispatches else "idle",
        role=agent.role,
        display_name=agent.display_name,
        model_id=agent.model_id,
        endpoint_url=agent.endpoint_url or (registered["endpoint_url"] if registered else None),
        connection=connection,
        dispatches=dispatches,
    )


async def messages(connection: asyncpg.Connection, query: ListMessages, _sender: str) -> Page | Refusal:
    """A page of the present run's messages, in the order of their sending."""
    row = await connection.fetchrow(SQL.find, query.simulation_id)
    if row is None:
        return _unknown(query.simulation_id)
    after = decode_cursor(query.cursor, int) if query.cursor else 0
    if isinstance(after, Refusal):
        return after
    rows = await connection.fetch(
        SQL.messages, query.simulation_id, row["run"], after, query.agent_id, query.status, query.limit
    )
    cursor = encode_cursor(rows[-1]["number"]) if len(rows) == query.limit else None
    return Page([_message(found) for found in rows], cursor)


async def events(connection: asyncpg.Connection, query: ListSimulationEvents, _sender: str) -> Page | Refusal:
    """A page of the present run's events, in order."""
    row = await connection.fetchrow(SQL.find, query.simulation_id)
    if row is None:
        return _unknown(query.simulation_id)
    first = query.tick_min if query.tick_index is None else query.tick_index
    last = query.tick_max if query.tick_index is None else query.tick_index
    after, last_seq = await _bounds(connection, row, first, last)
    if query.cursor:
        place = decode_cursor(query.cursor, int)
        if isinstance(place, Refusal):
            return place
        after = max(after, place)
    hive = await connection.fetchval("SELECT current_schema()")
    items: list[EventView] = []
    scanned = 0
    while after < last_seq and len(items) < query.limit and scanned < SCANNED_MAX:
        rows = await connection.fetch(
            SQL.events, TICK_ENGINE, query.simulation_id, after, last_seq, query.event_type, CHUNK
        )
        scanned += CHUNK
        for found in rows:
            after = found["seq"]
            if _fits(found, first, last, query.agent_id):
                items.append(_event(hive, query.simulation_id, found))
                if len(items) == query.limit:
                    break
        else:
            after = after if len(rows) == CHUNK else last_seq
    return Page(items, encode_cursor(after) if after < last_seq else None)


async def topology(connection: asyncpg.Connection, query: OneSimulation, _sender: str) -> Topology | Refusal:
    """The graph with the traffic of the present run."""
    row = await connection.fetchrow(SQL.find, query.simulation_id)
    if row is None:
        return _unknown(query.simulation_id)
    traffic = await connection.fetch(SQL.traffic, query.simulation_id, row["run"])
    return Topology(
        simulation_id=query.simulation_id,
        title=row["title"],
        tick=row["tick"],
        graph=agent_graph(_config.decode(row["config"])),
        traffic=[Traffic(*found) for found in traffic],
    )


async def replay(connection: asyncpg.Connection, query: OneSimulation, _sender: str) -> Comparison | Refusal:
    """Run the present run again and compare it with what was recorded."""
    row = await connection.fetchrow(SQL.find, query.simulation_id)
    if row is None:
        return _unknown(query.simulation_id)
    if not await begins(connection, row):
        return _too_old(query.simulation_id)
    again = recording.Replay()
    try:
        async for event in _record(connection, row):
            again.add(event)
            if again.difference is not None:
                break
    except HivewireError as error:
        return Refusal(str(error), 422)
    again.end()
    return Comparison(again.difference is None, again.ticks, again.events, again.difference)


async def diff(connection: asyncpg.Connection, query: TwoSimulations, _sender: str) -> Comparison | Refusal:
    """Compare two runs, as far as both go."""
    records: list[list[SimulationEvent]] = []
    for simulation_id in (query.simulation_id, query.other_id):
        row = await connection.fetchrow(SQL.find, simulation_id)
        if row is None:
            return _unknown(simulation_id)
        if row["last_seq"] - row["first_seq"] > recording.COMPARED_EVENTS_MAX:
            return Refusal(f"simulation {simulation_id!r} has too long a history to be compared", 422)
        if not await begins(connection, row):
            return _too_old(simulation_id)
        records.append([event async for event in _record(connection, row)])
    ticks, compared, difference = recording.compare(*records)
    return Comparison(difference is None, ticks, compared, difference)


READS: Mapping[str, Query] = {
    "simulations": Query(Listing, simulations),
    "simulation": Query(OneSimulation, simulation),
    "messages": Query(ListMessages, messages),
    "simulation_events": Query(ListSimulationEvents, events),
    "topology": Query(OneSimulation, topology),
    "replay": Query(OneSimulation, replay),
    "diff": Query(TwoSimulations, diff),
}


def _too_old(simulation_id: str) -> Refusal:
    return Refusal(f"the history of simulation {simulation_id!r} is not kept any more from its beginning", 410)


def _record(connection: asyncpg.Connection, row: asyncpg.Record) -> AsyncIterator[SimulationEvent]:
    return read_events(connection, row["simulation_id"], row["first_seq"] - 1, row["last_seq"])


async def _bounds(
    connection: asyncpg.Connection, row: asyncpg.Record, first: int | None, last: int | None
) -> tuple[int, int]:
    """Between which numbers the events of a range of ticks lie. What came in after a tick belongs to it too."""
    wanted = [tick for tick in ((first or 0) - 1, None if last is None else last + 1) if tick is not None]
    found = await connection.fetch(SQL.tick_seqs, row["simulation_id"], row["run"], wanted)
    seqs = {tick["tick"]: tick["last_seq"] for tick in found}
    after = seqs.get((first or 0) - 1, row["first_seq"] - 1)
    return after, row["last_seq"] if last is None else seqs.get(last + 1, row["last_seq"])


def _fits(row: asyncpg.Record, first: int | None, last: int | None, agent_id: str | None) -> bool:
    marks = _marks.decode(row["data"])
    in_range = (first is None or marks.tick >= first) and (last is None or marks.tick <= last)
    return in_range and (agent_id is None or agent_id in (marks.sender, marks.target, marks.agent_id))


def _event(hive: str, simulation_id: str, row: asyncpg.Record) -> EventView:
    return EventView(
        id=event_id(hive, TICK_ENGINE, row["seq"]),
        seq=row["seq"],
        writer=TICK_ENGINE,
        type=row["type"],
        entity_id=simulation_id,
        time=row["recorded_at"],
        causationid=row["causation_id"],
        correlationid=row["correlation_id"],
        data=msgspec.Raw(row["data"].encode()),
    )


def _view(row: asyncpg.Record) -> SimulationView:
    config = _config.decode(row["config"])
    return SimulationView(
        simulation_id=row["simulation_id"],
        title=row["title"],
        status=row["status"],
        run=row["run"],
        tick=row["tick"],
        waiting=row["waiting"],
        messages=row["messages"],
        state_hash=row["state_hash"],
        mode=config.mode,
        created_by=row["created_by"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        tick_budget=config.tick_budget,
        forked_from=row["forked_from"],
        forked_at=row["forked_at"],
    )


def _message(row: asyncpg.Record) -> MessageView:
    return MessageView(
        message_id=f"m{row['number']}",
        sender=row["sender"],
        target=row["target"],
        kind=row["kind"],
        status=row["status"],
        sent_tick=row["sent_tick"],
        delivered_tick=row["delivered_tick"],
        in_reply_to=row["in_reply_to"],
        dispatch_id=row["dispatch_id"],
        reason=row["reason"],
        content=msgspec.Raw(row["content"].encode()),
    )


def _unknown(simulation_id: str) -> Refusal:
    return Refusal(f"there is no simulation {simulation_id!r}: `hivewire sim list` shows those there are", 404)
