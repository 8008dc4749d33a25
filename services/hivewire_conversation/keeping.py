"""What the conversation service keeps, and for how long."""

from collections.abc import Iterable, Sequence

import asyncpg
import msgspec

from hivewire import codec
from hivewire.events import Event
from hivewire.events.conversation import GraphSet
from hivewire.events.kept import ConversationRemoved, ConversationSnapshot, Snapshot
from hivewire.subjects import CONVERSATION
from hivewire_conversation.conversation import Conversation
from hivewire_conversation.messages import GRAPH_ID
from hivewire_conversation.rows import SQL, read_graph
from hivewire_conversation.stored import conversation_of
from hivewire_service.core import Step
from hivewire_service.retention import Cut, Keeping, Kind

_conversations = msgspec.json.Decoder(Conversation)


def kept_conversation(snapshot: ConversationSnapshot) -> Conversation:
    """The question that a snapshot holds."""
    return _conversations.decode(snapshot.state)


async def _conversations_now(connection: asyncpg.Connection, ids: Sequence[str], cut: Cut) -> Iterable[Snapshot]:
    rows = await connection.fetch(SQL.find_conversations, ids)
    return [
        ConversationSnapshot(
            conversation_id=row["conversation_id"],
            as_of=cut.as_of,
            through=cut.through,
            state=codec.raw(conversation_of(row)),
        )
        for row in rows
    ]


async def _graph(connection: asyncpg.Connection, cut: Cut) -> Step:
    """The graph is set anew, as it is, where nothing else will tell of it."""
    graph = await read_graph(connection)
    if graph is None or await connection.fetchval(SQL.graph_is_told, CONVERSATION, GRAPH_ID, cut.as_of):
        return Step()
    return Step([GraphSet(graph_id=GRAPH_ID, by=CONVERSATION, nodes=graph.nodes, edges=graph.edges)])


def _removed(conversation_id: str) -> Event:
    return ConversationRemoved(conversation_id=conversation_id)


KEEPING = Keeping(
    kinds=(
        Kind(
            "conversation",
            "conversation",
            ConversationSnapshot,
            _conversations_now,
            expired=SQL.expired_conversations,
            removed=_removed,
        ),
    ),
    carry=_graph,
    forgets=(SQL.forget_messages, SQL.forget_waits),
)
"""Ended questions go, and so do messages and the waits of attempts that are no more. A question lives a week at most."""
