"""Reads about phases and initiatives."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import msgspec

from hivewire import limits
from hivewire.reads import Listing, ListPhases, OfInitiative, OneInitiative, OnePhase
from hivewire.views import InitiativeView, Page, PhaseQueueView, PhaseView
from hivewire_broker.cursors import number
from hivewire_broker.phase_rows import SQL
from hivewire_service.answer import Query
from hivewire_service.core import Refusal


async def phases(connection: asyncpg.Connection, query: ListPhases, _sender: str) -> Page | Refusal:
    """A page of phases, newest first."""
    before = number(query.cursor)
    if isinstance(before, Refusal):
        return before
    rows = await connection.fetch(SQL.phase_page, before, query.initiative_id, query.limit + 1)
    cursor = str(rows[query.limit - 1]["ordinal"]) if len(rows) > query.limit else None
    return Page(await _views(connection, rows[: query.limit]), cursor)


async def phase(connection: asyncpg.Connection, query: OnePhase, _sender: str) -> PhaseView | Refusal:
    """One phase."""
    rows = await connection.fetch(SQL.phase, query.phase_id)
    if not rows:
        return Refusal(f"there is no phase {query.phase_id!r}", 404)
    return (await _views(connection, rows))[0]


async def phase_queue(connection: asyncpg.Connection, query: OfInitiative, _sender: str) -> PhaseQueueView | Refusal:
    """What waits: queued behind others, ready to start, blocked."""
    rows = await _waiting(connection, query)
    if isinstance(rows, Refusal):
        return rows
    views = await _views(connection, rows)
    ready = {row["phase_id"] for row in rows if row["ready"]}
    pending = [view for view in views if view.status == "pending"]
    return PhaseQueueView(
        queued=[view for view in pending if view.queued and view.phase_id not in ready],
        ready=[view for view in pending if view.phase_id in ready],
        blocked=[view for view in views if view.status == "blocked"],
    )


async def next_phase(connection: asyncpg.Connection, query: OfInitiative, _sender: str) -> PhaseView | Refusal:
    """The phase that would start first."""
    rows = await _waiting(connection, query)
    if isinstance(rows, Refusal):
        return rows
    first = next((row for row in rows if row["ready"] and row["status"] == "pending"), None)
    if first is None:
        return Refusal("no phase can start: none is approved, unblocked and free of unfinished dependencies", 404)
    return (await _views(connection, [first]))[0]


async def initiatives(connection: asyncpg.Connection, query: Listing, _sender: str) -> Page | Refusal:
    """A page of initiatives, newest first, without their phases."""
    before = number(query.cursor)
    if isinstance(before, Refusal):
        return before
    rows = await connection.fetch(SQL.initiative_page, before, query.limit + 1)
    cursor = str(rows[query.limit - 1]["ordinal"]) if len(rows) > query.limit else None
    return Page([_initiative(row) for row in rows[: query.limit]], cursor)


async def initiative(connection: asyncpg.Connection, query: OneInitiative, _sender: str) -> InitiativeView | Refusal:
    """One initiative with its phases."""
    row = await connection.fetchrow(SQL.initiative, query.initiative_id)
    if row is None:
        return _unknown(query.initiative_id)
    view = _initiative(row)
    view.phases = await _views(connection, await connection.fetch(SQL.phases_of_initiative, query.initiative_id))
    return view


READS: Mapping[str, Query] = {
    "phases": Query(ListPhases, phases),
    "phase": Query(OnePhase, phase),
    "phase_queue": Query(OfInitiative, phase_queue),
    "next_phase": Query(OfInitiative, next_phase),
    "initiatives": Query(Listing, initiatives),
    "initiative": Query(OneInitiative, initiative),
}


async def _waiting(connection: asyncpg.Connection, query: OfInitiative) -> list[asyncpg.Record] | Refusal:
    if query.initiative_id is not None and await connection.fetchrow(SQL.initiative, query.initiative_id) is None:
        return _unknown(query.initiative_id)
    rows: list[asyncpg.Record] = await connection.fetch(SQL.waiting_phases, query.initiative_id, limits.LIST_ITEMS_MAX)
    return rows


def _unknown(initiative_id: str) -> Refusal:
    return Refusal(f"there is no initiative {initiative_id!r}", 404)


async def _views(connection: asyncpg.Connection, rows: Sequence[asyncpg.Record]) -> list[PhaseView]:
    """Phases with their tasks counted."""
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for row in await connection.fetch(SQL.tasks_of_phases, [row["phase_id"] for row in rows]):
        counts[row["phase_id"]][row["status"]] = row["tasks"]
    return [PhaseView(**_fields(PhaseView, row) | {"tasks": counts[row["phase_id"]]}) for row in rows]


def _initiative(row: asyncpg.Record) -> InitiativeView:
    return InitiativeView(**_fields(InitiativeView, row))


def _fields(view: type[msgspec.Struct], row: asyncpg.Record) -> dict[str, Any]:
    """The row's columns that the view shows."""
    fields = {name: value for name, value in row.items() if name in view.__struct_fields__}
    return fields | {"metadata": msgspec.Raw(row["metadata"].encode())}
