"""Deciding about messages, and about the graph that says who may talk to whom."""

from datetime import datetime, timedelta

from hivewire import graph, limits
from hivewire.commands.conversation import SendMessage, SetGraph
from hivewire.events.conversation import GraphCleared, GraphSet, MessageSent
from hivewire_conversation.questions import blocked_by_graph, too_large
from hivewire_conversation.seen import Seen
from hivewire_conversation.state import State
from hivewire_conversation.targets import resolve
from hivewire_service.core import NOTHING, Command, Refusal, Step

GRAPH_ID = "live"
"""The id of the live hive's graph."""


def message(state: State, seen: Seen, command: Command, now: datetime) -> Step | Refusal | tuple[Step, Refusal]:
    """Something said without expecting an answer. It waits for an agent that is away."""
    data: SendMessage = command.data
    size = len(bytes(data.content))
    if size > limits.QUESTION_BYTES_MAX:
        return too_large("message", size)
    resolved = resolve(seen, command.sender, data.target)
    if isinstance(resolved, Refusal):
        return resolved
    key = data.id or command.id
    if key in state.messages or key in seen.messages:
        return Refusal(f"message {key} was sent before: take a new id", 409)
    blocked = blocked_by_graph(state, key, command.sender, data.target, resolved)
    if blocked is not None:
        return blocked
    if len(state.messages_to.get(resolved.agent_id, ())) >= limits.MESSAGES_WAITING_MAX:
        return Refusal(f"{limits.MESSAGES_WAITING_MAX} messages wait for {resolved.agent_id} already: try later", 429)
    sent = MessageSent(
        message_id=key,
        sender=command.sender,
        target=data.target,
        agent_id=resolved.agent_id,
        resolution=resolved.resolution,
        content=data.content,
        sent_at=now,
        expires_at=now + timedelta(seconds=limits.MESSAGE_KEPT_S),
    )
    return Step([sent])


def set_graph(_state: State, _seen: Seen, command: Command, _now: datetime) -> Step | Refusal:
    """From now on, these rules."""
    data: SetGraph = command.data
    problem = graph.problem(data)
    if problem is not None:
        return Refusal(f"the graph can't be used: {problem}", 422)
    return Step([GraphSet(graph_id=GRAPH_ID, by=command.sender, nodes=data.nodes, edges=data.edges)])


def clear_graph(state: State, _seen: Seen, command: Command, _now: datetime) -> Step | Refusal:
    """No rules any more."""
    return Step([GraphCleared(graph_id=GRAPH_ID, by=command.sender)]) if state.graph_spec else NOTHING
