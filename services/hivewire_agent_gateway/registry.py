"""The registered agents: what the events of the gateway add up to."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hivewire.events import Event
from hivewire.events.agent import (
    AgentCrashed,
    AgentDeleted,
    AgentDrained,
    AgentResumed,
    AgentSpawned,
    AgentStopped,
    AgentUndrained,
    AgentUpdated,
    Card,
)
from hivewire_agent_gateway.states import Presence, following

REPLACED_KEPT_MAX: Final = 16
"""Replaced instances remembered of one agent: they may not come back, or two processes with one id would push each
other out for ever."""


@dataclass(slots=True)
class Agent:
    """One agent. `replaced` are its earlier instances, oldest first; `changed_at` is when its presence last changed."""

    card: Card
    presence: Presence
    instance: str
    registered_at: datetime
    changed_at: datetime
    drained: bool = False
    replaced: tuple[str, ...] = ()


class Registry:
    """All agents by id. Only `evolve` changes it."""

    def __init__(self, agents: Mapping[str, Agent] | None = None) -> None:
        self.agents: dict[str, Agent] = dict(agents or {})

    def get(self, agent_id: str) -> Agent | None:
        return self.agents.get(agent_id)

    def presence(self, agent_id: str) -> Presence:
        agent = self.agents.get(agent_id)
        return agent.presence if agent else Presence.REMOVED

    def evolve(self, event: Event) -> None:
        """Take in one event of an agent.

        Raises:
            IllegalTransition: the event cannot happen in the agent's state; nothing changed.
        """
        presence = following(self.presence(event.entity_id), event.type)
        match event:
            case AgentSpawned():
                self.agents[event.agent_id] = _spawned(self.agents.get(event.agent_id), event)
            case AgentDeleted():
                del self.agents[event.agent_id]
            case _:
                _change(self.agents[event.entity_id], presence, event)


def _spawned(known: Agent | None, event: AgentSpawned) -> Agent:
    agent = Agent(
        card=event.card,
        presence=Presence.PRESENT,
        instance=event.instance,
        registered_at=event.spawned_at,
        changed_at=event.spawned_at,
    )
    if known is not None:
        agent.registered_at = known.registered_at
        agent.drained = known.drained
        agent.replaced = (*known.replaced, known.instance)[-REPLACED_KEPT_MAX:]
    return agent


def _change(agent: Agent, presence: Presence, event: Event) -> None:
    match event:
        case AgentUpdated(card=card):
            agent.card = card
        case AgentDrained():
            agent.drained = True
        case AgentUndrained():
            agent.drained = False
        case AgentResumed(resumed_at=at) | AgentStopped(stopped_at=at) | AgentCrashed(crashed_at=at):
            agent.changed_at = agent.changed_at if agent.presence is presence else at
    agent.presence = presence
