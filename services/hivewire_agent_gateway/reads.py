"""Reads about agents and sessions, answered from Postgres by any instance of the service."""

from collections.abc import Mapping
from typing import Any, Final, get_args

import asyncpg
import msgspec

from hivewire.limits import INTEGER_DIGITS_MAX
from hivewire.reads import Listing, ListSessions, OneAgent, OneSession
from hivewire.views import AgentView, Page, SessionState, SessionView
from hivewire_agent_gateway.rows import SQL
from hivewire_agent_gateway.states import Presence
from hivewire_service.answer import Query
from hivewire_service.core import Refusal

_labels = msgspec.json.Decoder(dict[str, str])


async def agents(connection: asyncpg.Connection, query: Listing, _sender: str) -> Page:
    """A page of all agents by id. The cursor is the last id of the page before."""
    rows = await connection.fetch(SQL.list_agents, query.cursor, query.limit + 1)
    items = [_view(row) for row in rows[: query.limit]]
    return Page(items, items[-1].agent_id if len(rows) > query.limit else None)


async def agent(connection: asyncpg.Connection, query: OneAgent, _sender: str) -> AgentView | Refusal:
    """One agent."""
    row = await connection.fetchrow(SQL.find_agent, query.agent_id)
    if row is None:
        return Refusal(f"agent {query.agent_id!r} is not registered: `hivewire agents` lists those that are", 404)
    return _view(row)


async def session(connection: asyncpg.Connection, query: OneSession, _sender: str) -> SessionView | Refusal:
    """One session, with what was asked and answered."""
    row = await connection.fetchrow(SQL.session, query.session_id)
    return Refusal(f"there is no session {query.session_id!r}", 404) if row is None else session_view(row)


async def sessions(connection: asyncpg.Connection, query: ListSessions, _sender: str) -> Page | Refusal:
    """A page of sessions, newest first."""
    unknown = set(query.state) - set(get_args(SessionState))
    if unknown:
        return Refusal(f"state {min(unknown)!r} is unknown: take one of {', '.join(get_args(SessionState))}", 400)
    cursor = query.cursor
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= INTEGER_DIGITS_MAX):
        return Refusal(f"cursor {cursor[:40]!r} is not one that was given out", 400)
    rows = await connection.fetch(
        SQL.list_sessions,
        int(cursor) if cursor else None,
        query.state or None,
        query.agent,
        query.external_ref,
        query.batch,
        query.limit + 1,
    )
    last = str(rows[query.limit - 1]["ordinal"]) if len(rows) > query.limit else None
    return Page([session_view(row) for row in rows[: query.limit]], last)


READS: Mapping[str, Query] = {
    "agents": Query(Listing, agents),
    "agent": Query(OneAgent, agent),
    "sessions": Query(ListSessions, sessions),
    "session": Query(OneSession, session),
}


def session_view(row: asyncpg.Record) -> SessionView:
    """A session as it is stored."""
    found: dict[str, Any] = {name: row[name] for name in SessionView.__struct_fields__}
    return SessionView(**found | {name: msgspec.Raw((row[name] or "null").encode()) for name in _JSON_TEXTS})


_JSON_TEXTS: Final = frozenset({"completion_action", "content", "context", "response", "usage"})


def _view(row: asyncpg.Record) -> AgentView:
    return AgentView(
        agent_id=row["agent_id"],
        name=row["name"],
        agent_type=row["agent_type"],
        state=row["state"],
        drained=row["drained"],
        capabilities=row["capabilities"],
        slots=row["slots"],
        busy_slots=row["busy_slots"],
        policy=row["policy"],
        owner=row["owner"],
        instance=row["instance"],
        endpoint_url=row["endpoint_url"],
        wake=row["wake"],
        connection_status="connected" if row["state"] == Presence.PRESENT else "disconnected",
        labels=_labels.decode(row["labels"]),
        metadata=msgspec.Raw(row["metadata"]),
        registered_at=row["registered_at"],
        changed_at=row["changed_at"],
    )
