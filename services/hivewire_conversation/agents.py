"""What the service does when agents come, go, and are removed."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from hivewire.events import agent as events
from hivewire.events.base import Event
from hivewire.events.conversation import ConversationUndeliverable, MessageUndeliverable
from hivewire_conversation import waits
from hivewire_conversation.seen import AgentSeen, AgentsSeen, Seen
from hivewire_conversation.state import State


def take(seen: Seen, observation: Any) -> list[str]:
    """Take in an event of an agent. Returns the agents that have just registered."""
    handler = _HANDLERS.get(type(observation))
    return handler(seen, observation) if handler else []


def take_all(seen: Seen, observation: AgentsSeen) -> list[str]:
    """Take in all agents, to make good for events that did not arrive. Returns those that have registered since."""
    before = dict(seen.agents)
    seen.put_all(observation.agents)
    return [
        agent.agent_id
        for agent in observation.agents
        if agent.present and not _is_same(before.get(agent.agent_id), agent)
    ]


def undeliverable(state: State, seen: Seen, agent_id: str, now: datetime) -> list[Event]:
    """The agent was removed: nobody answers what it was asked."""
    reason = f"agent {agent_id} was removed"
    asked = [state.conversations[key] for key in state.asked_of.get(agent_id, ())]
    found: list[Event] = [
        ConversationUndeliverable(conversation_id=c.conversation_id, agent_id=agent_id, reason=reason, ended_at=now)
        for c in asked
    ]
    found += waits.after(state, seen, asked, now)
    found += [
        MessageUndeliverable(message_id=key, agent_id=agent_id, reason=reason, ended_at=now)
        for key in state.messages_to.get(agent_id, ())
    ]
    return found


def _is_same(before: AgentSeen | None, agent: AgentSeen) -> bool:
    return before is not None and before.present and before.instance == agent.instance


def _spawned(seen: Seen, event: events.AgentSpawned) -> list[str]:
    seen.agents[event.agent_id] = _of_card(event.agent_id, event.instance, event.card)
    return [event.agent_id]


def _updated(seen: Seen, event: events.AgentUpdated) -> list[str]:
    known = seen.agents.get(event.agent_id)
    agent = _of_card(event.agent_id, event.instance, event.card)
    agent.present = known is not None and known.present
    seen.agents[event.agent_id] = agent
    return []


def _resumed(seen: Seen, event: events.AgentResumed) -> list[str]:
    known = seen.agents.get(event.agent_id)
    if known is None:
        return []
    known.instance, known.present = event.instance, True
    return [event.agent_id]


def _gone(seen: Seen, event: events.AgentStopped | events.AgentCrashed) -> list[str]:
    known = seen.agents.get(event.agent_id)
    if known is not None and known.instance == event.instance:
        known.present = False
    return []


def _deleted(seen: Seen, event: events.AgentDeleted) -> list[str]:
    seen.agents.pop(event.agent_id, None)
    return []


def _of_card(agent_id: str, instance: str, card: events.Card) -> AgentSeen:
    return AgentSeen(
        agent_id=agent_id,
        name=card.name,
        instance=instance,
        slots=card.slots,
        answers_while_busy=card.answers_while_busy,
    )


_HANDLERS: Final[Mapping[type[Event], Callable[[Seen, Any], list[str]]]] = {
    events.AgentSpawned: _spawned,
    events.AgentUpdated: _updated,
    events.AgentResumed: _resumed,
    events.AgentStopped: _gone,
    events.AgentCrashed: _gone,
    events.AgentDeleted: _deleted,
}
