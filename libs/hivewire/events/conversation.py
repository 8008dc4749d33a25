"""Events of questions, messages and the graph, written by the conversation service."""

from datetime import datetime
from typing import ClassVar

import msgspec

from hivewire import fields
from hivewire.events.base import Event
from hivewire.graph import Edge, Node


class ConversationEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of conversations."""

    key: ClassVar[str] = "conversation_id"

    conversation_id: str


class ConversationCreated(ConversationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A question was asked. `target` is whom the asker named, `agent_id` who it is, `resolution` why this one.

    `thread` is the first conversation of its thread, itself where it opens one. `task_id` and `attempt` name the attempt
    of the asker that waits.
    """

    type: ClassVar[str] = "conversation.created"

    thread: str
    asker: str
    target: str
    agent_id: str
    resolution: str
    question: msgspec.Raw
    asked_at: datetime
    expires_at: datetime
    task_id: str | None = None
    attempt: int | None = None


class ConversationDelivered(ConversationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent that is asked has the question."""

    type: ClassVar[str] = "conversation.delivered"

    agent_id: str
    delivered_at: datetime


class ConversationAnswered(ConversationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent answered."""

    type: ClassVar[str] = "conversation.answered"

    agent_id: str
    asker: str
    answer: msgspec.Raw
    answered_at: datetime


class ConversationExpired(ConversationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Nobody answered in time."""

    type: ClassVar[str] = "conversation.expired"

    expired_at: datetime


class ConversationWithdrawn(ConversationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The asker needs no answer any more."""

    type: ClassVar[str] = "conversation.withdrawn"

    by: str
    reason: str = ""
    withdrawn_at: datetime


class ConversationUndeliverable(ConversationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent that is asked was removed from the registry."""

    type: ClassVar[str] = "conversation.undeliverable"

    agent_id: str
    reason: str
    ended_at: datetime


class ConversationReceived(ConversationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The asker knows how its question ended."""

    type: ClassVar[str] = "conversation.received"

    asker: str
    received_at: datetime


class MessageEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of messages."""

    key: ClassVar[str] = "message_id"

    message_id: str


class MessageSent(MessageEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Something was said without expecting an answer."""

    type: ClassVar[str] = "message.sent"

    sender: str
    target: str
    agent_id: str
    resolution: str = ""
    content: msgspec.Raw = fields.NULL
    sent_at: datetime
    expires_at: datetime


class MessageDelivered(MessageEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent has the message."""

    type: ClassVar[str] = "message.delivered"

    agent_id: str
    delivered_at: datetime


class MessageUndeliverable(MessageEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent was removed, or stayed away for too long."""

    type: ClassVar[str] = "message.undeliverable"

    agent_id: str
    reason: str
    ended_at: datetime


class MessageBlockedByGraph(MessageEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A question or message was refused, because the communication graph does not allow it."""

    type: ClassVar[str] = "message.blocked_by_graph"

    sender: str
    target: str
    agent_id: str
    reason: str


class GraphEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of the communication graph."""

    key: ClassVar[str] = "graph_id"

    graph_id: str


class GraphSet(GraphEvent, frozen=True, kw_only=True, omit_defaults=True):
    """From now on questions and messages follow this graph."""

    type: ClassVar[str] = "graph.set"

    by: str
    nodes: list[Node] = []
    edges: list[Edge] = []


class GraphCleared(GraphEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Everybody may talk to everybody again."""

    type: ClassVar[str] = "graph.cleared"

    by: str


EVENTS: tuple[type[Event], ...] = (
    ConversationCreated,
    ConversationDelivered,
    ConversationAnswered,
    ConversationExpired,
    ConversationWithdrawn,
    ConversationUndeliverable,
    ConversationReceived,
    MessageSent,
    MessageDelivered,
    MessageUndeliverable,
    MessageBlockedByGraph,
    GraphSet,
    GraphCleared,
)
