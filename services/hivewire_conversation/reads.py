"""Reads about conversations, answered from Postgres by any instance of the service."""

from collections.abc import Mapping
from datetime import datetime

import asyncpg
import msgspec

from hivewire.reads import ListConversations, Nothing, OneConversation
from hivewire.views import ConversationView, GraphView, Page
from hivewire_conversation.rows import SQL, read_graph
from hivewire_conversation.shown import conversation_view
from hivewire_conversation.states import CONVERSATION
from hivewire_conversation.stored import conversation_of
from hivewire_service.answer import Query
from hivewire_service.core import Refusal
from hivewire_service.history import decode_cursor, encode_cursor


class Cursor(msgspec.Struct, array_like=True):
    """A place in the listing."""

    asked_at: datetime
    conversation_id: str


async def conversation(
    connection: asyncpg.Connection, query: OneConversation, _sender: str
) -> ConversationView | Refusal:
    """One conversation."""
    rows = await connection.fetch(SQL.find_conversations, [query.conversation_id])
    if not rows:
        return Refusal(f"there is no conversation {query.conversation_id!r}", 404)
    return conversation_view(conversation_of(rows[0]))


async def conversations(connection: asyncpg.Connection, query: ListConversations, _sender: str) -> Page | Refusal:
    """A page of conversations, newest first."""
    place = decode_cursor(query.cursor, Cursor) if query.cursor else None
    if isinstance(place, Refusal):
        return place
    unknown = set(query.state) - CONVERSATION.keys()
    if unknown:
        known = ", ".join(sorted(state for state in CONVERSATION if state))
        return Refusal(f"state {min(unknown)!r} is unknown: take one of {known}", 400)
    rows = await connection.fetch(
        SQL.list_conversations,
        place.asked_at if place else None,
        place.conversation_id if place else None,
        query.asker,
        query.agent,
        query.thread,
        query.state or None,
        query.limit + 1,
    )
    items = [conversation_view(conversation_of(row)) for row in rows[: query.limit]]
    more = len(rows) > query.limit
    return Page(items, encode_cursor(Cursor(items[-1].asked_at, items[-1].conversation_id)) if more else None)


async def graph(connection: asyncpg.Connection, _query: Nothing, _sender: str) -> GraphView:
    """Who may talk to whom."""
    spec = await read_graph(connection)
    return GraphView(set=False) if spec is None else GraphView(set=True, nodes=spec.nodes, edges=spec.edges)


READS: Mapping[str, Query] = {
    "conversation": Query(OneConversation, conversation),
    "conversations": Query(ListConversations, conversations),
    "graph": Query(Nothing, graph),
}
