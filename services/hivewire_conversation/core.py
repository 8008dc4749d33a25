"""The pure core of the conversation service. Wires its modules together and holds no rule of its own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from hivewire.commands.conversation import VERBS, Answer, Ask, Done, SendMessage, Withdraw
from hivewire.events import Event
from hivewire.events.agent import AgentDeleted
from hivewire.events.conversation import (
    ConversationCreated,
    ConversationExpired,
    MessageSent,
    MessageUndeliverable,
)
from hivewire.views import ConversationView, MessageBrief
from hivewire_conversation import agents, messages, questions, waits
from hivewire_conversation.conversation import Conversation
from hivewire_conversation.delivery import Delivery
from hivewire_conversation.evolve import evolve
from hivewire_conversation.seen import AgentSeen, AgentsSeen, Seen
from hivewire_conversation.shown import conversation_view
from hivewire_conversation.state import State
from hivewire_conversation.timers import Timers
from hivewire_service.core import Command, Refusal, Step

EXPIRED_PER_STEP_MAX: Final = 500
STAYED_AWAY: Final = "the agent stayed away for too long"

Decider = Callable[[State, Seen, Command, datetime], Step | Refusal | tuple[Step, Refusal]]

_DECIDERS: Final[Mapping[str, Decider]] = {
    "ask": questions.ask,
    "answer": questions.answer,
    "withdraw": questions.withdraw,
    "receive": questions.receive,
    "message": messages.message,
    "set_graph": messages.set_graph,
    "clear_graph": messages.clear_graph,
}


class Conversations:
    """The questions and messages of one hive. Implements `Core`."""

    verbs: Mapping[str, type[msgspec.Struct]] = VERBS
    naturally_idempotent = frozenset({"answer", "withdraw", "receive", "clear_graph"})
    decided_ahead: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.restore(State(), (), datetime.min.replace(tzinfo=UTC))

    def restore(self, state: State, known: Sequence[AgentSeen], now: datetime) -> None:
        """Go on from a loaded state and the agents as they are now. Whatever is on its way is sent again in time."""
        self.state = state
        self.seen = Seen()
        self.seen.put_all(known)
        self._now = now
        self._verdict: Refusal | None = None
        self._missing: set[str] = set()
        self._delivery = Delivery(state, self.seen)
        self._delivery.restore(now)
        self._expiries = Timers()
        for conversation in state.conversations.values():
            self._expiries.arm(conversation.conversation_id, conversation.expires_at)
        for message in state.messages.values():
            self._expiries.arm(message.message_id, message.expires_at)

    def decide(self, command: Command, now: datetime) -> Step | Refusal:
        """What should happen, or why not. A refusal that is itself a fact comes with its event; `reply` tells it."""
        self._now = now
        self._verdict = None
        decided = _DECIDERS[command.verb](self.state, self.seen, command, now)
        if isinstance(decided, tuple):
            step, self._verdict = decided
            return step
        return decided

    def evolve(self, event: Event) -> None:
        """What did happen."""
        evolve(self.state, event)
        self._delivery.follow(event, self._now)
        if isinstance(event, (ConversationCreated, MessageSent)):
            self._expiries.arm(event.entity_id, event.expires_at)

    def observe(self, observation: Any, now: datetime) -> Step:
        """Agents come and go: who registers is sent what is open for it, who is removed will not answer."""
        self._now = now
        events: list[Event] = []
        if isinstance(observation, AgentsSeen):
            registered = agents.take_all(self.seen, observation)
            events += self._after_removal(self._missing_again(), now)
        else:
            registered = agents.take(self.seen, observation)
            if isinstance(observation, AgentDeleted):
                events += self._after_removal([observation.agent_id], now)
        return Step(events, [told for agent_id in registered for told in self._delivery.registered(agent_id, now)])

    def advance(self, now: datetime) -> Step:
        """What expires, and what is sent again. The events must be evolved, or the state loaded anew."""
        self._now = now
        return Step(self._expired(now), list(self._delivery.due(now)))

    def next_due(self) -> datetime | None:
        """When `advance` has something to do again."""
        dues = (self._expiries.next_due(), self._delivery.next_due())
        return min((due for due in dues if due is not None), default=None)

    def extend(self, silence_s: float, now: datetime) -> None:  # noqa: ARG002
        """No answer could be heard: open questions get as much more time."""
        for keys in self.state.asked_of.values():
            for key in keys:
                self.state.conversations[key].grace_s += silence_s

    def reply(self, command: Command) -> ConversationView | MessageBrief | Done | Refusal:
        """How things stand after a command."""
        if self._verdict is not None:
            return self._verdict
        match command.data:
            case Ask(id=key):
                return conversation_view(self.state.conversations[key or command.id])
            case Answer(conversation_id=key) | Withdraw(conversation_id=key):
                return conversation_view(self.state.conversations[key])
            case SendMessage(id=key):
                message = self.state.messages[key or command.id]
                return MessageBrief(message.message_id, message.agent_id, message.state)
            case _:
                return Done()

    def _missing_again(self) -> list[str]:
        """Agents that are asked something, and that two snapshots in a row did not have. One may be older than they."""
        asked = self.state.asked_of.keys() | self.state.messages_to.keys()
        missing = asked - self.seen.agents.keys()
        again, self._missing = missing & self._missing, missing
        return sorted(again)

    def _after_removal(self, agent_ids: Iterable[str], now: datetime) -> list[Event]:
        return [event for agent_id in agent_ids for event in agents.undeliverable(self.state, self.seen, agent_id, now)]

    def _expired(self, now: datetime) -> list[Event]:
        ended: list[Conversation] = []
        found: list[Event] = []
        while len(found) < EXPIRED_PER_STEP_MAX and (key := self._expiries.pop(now)) is not None:
            message, conversation = self.state.messages.get(key), self.state.conversations.get(key)
            if message is not None:
                found.append(
                    MessageUndeliverable(message_id=key, agent_id=message.agent_id, reason=STAYED_AWAY, ended_at=now)
                )
            elif conversation is not None and conversation.open:
                due = conversation.expires_at + timedelta(seconds=conversation.grace_s)
                if due > now:
                    self._expiries.arm(key, due)
                else:
                    ended.append(conversation)
                    found.append(ConversationExpired(conversation_id=key, expired_at=now))
        return found + list(waits.after(self.state, self.seen, ended, now))
