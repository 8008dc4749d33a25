"""What each event does to the state. Every change of a stored field is here and nowhere else."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from hivewire import codec
from hivewire.events import Event
from hivewire.events import conversation as events
from hivewire.events.agent import AgentWaiting
from hivewire.events.kept import ConversationRemoved
from hivewire.graph import GraphSpec
from hivewire_conversation.conversation import Conversation, Message, Wait
from hivewire_conversation.state import State
from hivewire_conversation.states import IllegalTransition, next_message_state, next_state


def evolve(state: State, event: Event) -> None:
    """Change the state by an event.

    Raises:
        IllegalTransition: the event does not fit the state, which is left as it was.
    """
    match event:
        case events.ConversationCreated():
            _created(state, event)
        case events.ConversationEvent():
            _conversation(state, event)
        case events.MessageSent():
            _sent(state, event)
        case events.MessageDelivered() | events.MessageUndeliverable():
            _message(state, event)
        case AgentWaiting():
            _waiting(state, event)
        case ConversationRemoved():
            state.remove(event.conversation_id)
        case events.GraphSet():
            state.set_graph(GraphSpec(nodes=event.nodes, edges=event.edges))
        case events.GraphCleared():
            state.set_graph(None)


def _created(state: State, event: events.ConversationCreated) -> None:
    known = state.conversations.get(event.conversation_id)
    state.put(
        Conversation(
            conversation_id=event.conversation_id,
            thread=event.thread,
            asker=event.asker,
            target=event.target,
            agent_id=event.agent_id,
            resolution=event.resolution,
            question=codec.text(event.question),
            asked_at=event.asked_at,
            expires_at=event.expires_at,
            task_id=event.task_id,
            attempt=event.attempt,
            state=next_state(known.state if known else None, event.type),
        )
    )


def _conversation(state: State, event: events.ConversationEvent) -> None:
    conversation = state.conversations.get(event.conversation_id)
    if conversation is None:
        raise IllegalTransition(f"{event.type} cannot happen to the unknown question {event.conversation_id}")
    conversation.state = next_state(conversation.state, event.type)
    _CHANGES[type(event)](conversation, event)
    state.settle(conversation)


def _delivered(conversation: Conversation, event: events.ConversationDelivered) -> None:
    conversation.delivered_at = conversation.delivered_at or event.delivered_at


def _answered(conversation: Conversation, event: events.ConversationAnswered) -> None:
    conversation.answer = codec.text(event.answer)
    conversation.ended_at = event.answered_at


def _expired(conversation: Conversation, event: events.ConversationExpired) -> None:
    conversation.ended_at = event.expired_at


def _withdrawn(conversation: Conversation, event: events.ConversationWithdrawn) -> None:
    conversation.reason = event.reason
    conversation.ended_at = event.withdrawn_at


def _undeliverable(conversation: Conversation, event: events.ConversationUndeliverable) -> None:
    conversation.reason = event.reason
    conversation.ended_at = event.ended_at


def _received(conversation: Conversation, event: events.ConversationReceived) -> None:
    conversation.received_at = event.received_at


_CHANGES: Final[Mapping[type[Event], Callable[[Conversation, Any], None]]] = {
    events.ConversationDelivered: _delivered,
    events.ConversationAnswered: _answered,
    events.ConversationExpired: _expired,
    events.ConversationWithdrawn: _withdrawn,
    events.ConversationUndeliverable: _undeliverable,
    events.ConversationReceived: _received,
}


def _sent(state: State, event: events.MessageSent) -> None:
    known = state.messages.get(event.message_id)
    state.put_message(
        Message(
            message_id=event.message_id,
            sender=event.sender,
            target=event.target,
            agent_id=event.agent_id,
            resolution=event.resolution,
            content=codec.text(event.content),
            sent_at=event.sent_at,
            expires_at=event.expires_at,
            state=next_message_state(known.state if known else None, event.type),
        )
    )


def _message(state: State, event: events.MessageDelivered | events.MessageUndeliverable) -> None:
    message = state.messages.get(event.message_id)
    if message is None:
        raise IllegalTransition(f"{event.type} cannot happen to the unknown message {event.message_id}")
    message.state = next_message_state(message.state, event.type)
    if isinstance(event, events.MessageDelivered):
        message.ended_at = event.delivered_at
    else:
        message.reason = event.reason
        message.ended_at = event.ended_at
    state.put_message(message)


def _waiting(state: State, event: AgentWaiting) -> None:
    """An attempt waits, or goes on. A question that was asked before may now be waited for by a later attempt."""
    key = (event.task_id, event.attempt)
    if not event.questions:
        state.waits.pop(key, None)
        return
    state.waits[key] = Wait(
        agent_id=event.agent_id,
        questions=event.questions,
        paused_s=event.paused_s,
        waiting_since=event.waiting_since,
        pause_until=event.pause_until,
    )
    for question in event.questions:
        conversation = state.conversations[question.conversation_id]
        conversation.task_id, conversation.attempt = key
