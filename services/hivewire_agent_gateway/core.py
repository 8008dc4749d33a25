"""The pure core of the agent gateway: the registry of agents and their presence."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from hivewire.commands.agent_gateway import VERBS, AgentBrief, Published
from hivewire.events import Event, ForeignEvent
from hivewire.events.agent import AgentCrashed, AgentResumed, AgentSpawned
from hivewire.inbox import Beat
from hivewire_agent_gateway import control, publish, registration
from hivewire_agent_gateway.beats import Told, answer
from hivewire_agent_gateway.registry import Agent, Registry
from hivewire_agent_gateway.states import Presence
from hivewire_agent_gateway.watch import ALLOWANCE_S, Watch
from hivewire_service.core import NOTHING, Command, Refusal, Step

_DECIDE: Mapping[str, Callable[[Registry, Command, datetime], Step | Refusal]] = {
    "register": registration.register,
    "leave": registration.leave,
    "drain": control.drain,
    "undrain": control.undrain,
    "remove": control.remove,
}

CRASH_REASON: Final = f"not heard of for {ALLOWANCE_S:g} s"


class AgentGateway:
    """Who is registered, and who is there."""

    verbs: Mapping[str, type[msgspec.Struct]] = VERBS
    naturally_idempotent: frozenset[str] = frozenset({"register", "leave", "publish"})

    def __init__(self) -> None:
        self.registry = Registry()
        self.recorded = publish.Recorded()
        self._watch = Watch()
        self._told = Told()
        self._repeated = False

    def restore(self, agents: Mapping[str, Agent], now: datetime) -> None:
        """Start over from what is stored. Whoever is present has the full allowance from now."""
        self.registry = Registry(agents)
        self._watch = Watch()
        for agent_id, agent in agents.items():
            if agent.presence is Presence.PRESENT:
                self._watch.heard(agent_id, now)

    def decide(self, command: Command, now: datetime) -> Step | Refusal:
        """What should happen, or why not. Changes nothing."""
        if command.verb == "publish":
            self._repeated = publish.key_of(command) in self.recorded
            return publish.publish(self.recorded, command, now)
        return _DECIDE[command.verb](self.registry, command, now)

    def evolve(self, event: Event) -> None:
        """What did happen."""
        if isinstance(event, ForeignEvent):
            self.recorded.add(event)
            return
        self.registry.evolve(event)
        match event:
            case AgentSpawned(spawned_at=at) | AgentResumed(resumed_at=at):
                self._watch.heard(event.agent_id, at)
            case _ if self.registry.presence(event.entity_id) is not Presence.PRESENT:
                self._watch.forget(event.entity_id)

    def observe(self, observation: Beat, now: datetime) -> Step:
        """A beat: the agent lives, or the instance that sent it has to be told that it is not the agent's."""
        agent = self.registry.get(observation.agent_id)
        if agent is not None and agent.instance == observation.instance and agent.presence is Presence.PRESENT:
            self._watch.heard(observation.agent_id, now)
            return NOTHING
        return Step(records=[answer(agent, observation)]) if self._told.due(observation, now) else NOTHING

    def advance(self, now: datetime) -> Step:
        """Agents that were silent for too long are lost."""
        return Step(
            events=[
                AgentCrashed(
                    agent_id=agent_id,
                    instance=self.registry.agents[agent_id].instance,
                    reason=CRASH_REASON,
                    crashed_at=now,
                )
                for agent_id in self._watch.overdue(now)
            ]
        )

    def next_due(self) -> datetime | None:
        """When an agent might be overdue."""
        return self._watch.next_due()

    def extend(self, silence_s: float, now: datetime) -> None:  # noqa: ARG002
        """Silence counts only while we listened."""
        self._watch.extend(silence_s)

    def reply(self, command: Command) -> AgentBrief | Published:
        """How the agent stands now, or whether an event is new."""
        if command.verb == "publish":
            return Published(publish.key_of(command)[1], recorded=not self._repeated)
        agent_id = getattr(command.data, "agent_id", command.sender)
        agent = self.registry.get(agent_id)
        if agent is None:
            return AgentBrief(agent_id, Presence.REMOVED.value)
        return AgentBrief(agent_id, agent.presence.value, agent.instance, agent.drained)
