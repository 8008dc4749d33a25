"""What is sent to whose inbox: when it happens, again when its receiver registers, and until a receipt came."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from hivewire.events import Event
from hivewire.events import conversation as events
from hivewire_conversation.seen import Seen
from hivewire_conversation.state import State
from hivewire_conversation.timers import Resends

RESENT_PER_STEP_MAX: Final = 500
UNRECEIVED_KEPT: Final = timedelta(days=1)
"""For so long askers are told how their questions ended; afterwards they have to look."""


class Send(msgspec.Struct, frozen=True):
    """Send `key`, a question, the end of one, or a message, to the inbox of `agent_id`."""

    agent_id: str
    key: str


class Delivery:
    """Keeps track of what has not arrived for certain. In memory only: after a restart all of it is sent again."""

    def __init__(self, state: State, seen: Seen) -> None:
        self._state = state
        self._seen = seen
        self._resends = Resends()

    def restore(self, now: datetime) -> None:
        """Begin with everything that is on its way."""
        for index in (self._state.asked_of, self._state.ends_for, self._state.messages_to):
            for keys in index.values():
                for key in keys:
                    self._resends.sent(key, now)

    def follow(self, event: Event, now: datetime) -> None:
        """An event begins or ends a delivery."""
        match event:
            case (
                events.ConversationCreated()
                | events.ConversationAnswered()
                | events.ConversationExpired()
                | events.ConversationUndeliverable()
                | events.MessageSent()
            ):
                self._resends.sent(event.entity_id, now)
            case (
                events.ConversationDelivered()
                | events.ConversationReceived()
                | events.ConversationWithdrawn()
                | events.MessageDelivered()
                | events.MessageUndeliverable()
            ):
                self._resends.received(event.entity_id)

    def registered(self, agent_id: str, now: datetime) -> list[Send]:
        """Everything that is open for an agent that has just registered."""
        found = [Send(agent_id, key) for key in self._open_for(agent_id)]
        for send in found:
            self._resends.sent(send.key, now)
        return found

    def due(self, now: datetime) -> list[Send]:
        """What is sent again to agents that are there. Whoever is away is sent everything when it registers."""
        sends = (self._unreceived(key, now) for key in self._resends.due(now, RESENT_PER_STEP_MAX))
        return [send for send in sends if send is not None and self._is_present(send.agent_id)]

    def next_due(self) -> datetime | None:
        """When something might have to be sent again."""
        return self._resends.next_due()

    def _open_for(self, agent_id: str) -> Iterator[str]:
        state = self._state
        yield from state.asked_of.get(agent_id, ())
        yield from state.ends_for.get(agent_id, ())
        yield from state.messages_to.get(agent_id, ())

    def _unreceived(self, key: str, now: datetime) -> Send | None:
        message = self._state.messages.get(key)
        if message is not None:
            return Send(message.agent_id, key)
        conversation = self._state.conversations.get(key)
        if conversation is not None and conversation.state == "asked":
            return Send(conversation.agent_id, key)
        if conversation is not None and conversation.tells_asker:
            if conversation.ended_at is None or now - conversation.ended_at < UNRECEIVED_KEPT:
                return Send(conversation.asker, key)
            self._state.forget_later(conversation)
        self._resends.received(key)
        return None

    def _is_present(self, agent_id: str) -> bool:
        agent = self._seen.agents.get(agent_id)
        return agent is not None and agent.present
