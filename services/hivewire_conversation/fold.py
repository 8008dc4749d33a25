"""Whether the tables of conversations are what the history adds up to."""

from typing import Any

import asyncpg
import msgspec

from hivewire.events.kept import ConversationSnapshot
from hivewire.subjects import CONVERSATION
from hivewire_conversation.conversation import Conversation, Message
from hivewire_conversation.evolve import evolve
from hivewire_conversation.keeping import kept_conversation
from hivewire_conversation.rows import SQL, read_graph
from hivewire_conversation.state import State
from hivewire_conversation.states import IllegalTransition
from hivewire_conversation.stored import conversation_of, message_of, wait_of
from hivewire_service.retention import Remains

_BEGINS = {"conversation": "conversation.created", "message": "message.sent"}
_REMEMBERED = frozenset({"grace_s"})
"""What is kept in memory only."""


async def differences(connection: asyncpg.Connection) -> list[str]:
    """Replay the service's events and compare; one line for each thing that differs, none when all is well."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        state, found = await _replay(connection)
        conversations = {
            row["conversation_id"]: conversation_of(row) for row in await connection.fetch(SQL.all_conversations)
        }
        on_their_way = {row["message_id"]: message_of(row) for row in await connection.fetch(SQL.load_messages)}
        waits = dict(wait_of(row) for row in await connection.fetch(SQL.load_waits))
        graph = await read_graph(connection)
    found += _compare("conversation", state.conversations, conversations)
    found += _compare("message", state.messages, on_their_way)
    found += _compare("wait", state.waits, waits)
    if graph != state.graph_spec:
        found.append(f"graph: {graph!r}, its events say {state.graph_spec!r}")
    return found


async def _replay(connection: asyncpg.Connection) -> tuple[State, list[str]]:
    state = State()
    found = []
    remains = Remains(connection, CONVERSATION, _BEGINS)
    for snapshot in await remains.snapshots():
        if isinstance(snapshot, ConversationSnapshot):
            state.put(kept_conversation(snapshot))
    async for seq, event in remains.events():
        try:
            evolve(state, event)
        except IllegalTransition as error:
            found.append(f"event {seq} of {event.entity_id}: {error}")
    return state, found + remains.found


def _compare(what: str, folded: dict[Any, Any], stored: dict[Any, Any]) -> list[str]:
    found = []
    for key in sorted(folded.keys() | stored.keys()):
        one, other = folded.get(key), stored.get(key)
        if one is None or other is None:
            found.append(f"{what} {key}: {'no event' if one is None else 'no row'}")
        elif one != other:
            found += _fields(f"{what} {key}", one, other)
    return found


def _fields(what: str, folded: Conversation | Message, stored: Conversation | Message) -> list[str]:
    said, kept = msgspec.structs.asdict(folded), msgspec.structs.asdict(stored)
    return [
        f"{what}: {name} is {kept[name]!r}, its events say {said[name]!r}"
        for name in said
        if name not in _REMEMBERED and said[name] != kept[name]
    ]
