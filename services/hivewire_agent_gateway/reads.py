"""Reads about agents, answered from Postgres by any instance of the service."""

from collections.abc import Mapping

import asyncpg
import msgspec

from hivewire.reads import Listing, OneAgent
from hivewire.views import AgentView, Page
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


READS: Mapping[str, Query] = {
    "agents": Query(Listing, agents),
    "agent": Query(OneAgent, agent),
}


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
        connection_status="connected" if row["state"] == Presence.PRESENT else "disconnected",
        labels=_labels.decode(row["labels"]),
        metadata=msgspec.Raw(row["metadata"]),
        registered_at=row["registered_at"],
        changed_at=row["changed_at"],
    )
