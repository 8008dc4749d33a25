"""Random fleets: whatever comes, the registry is what its events add up to, and loss needs silence."""

from datetime import datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hivewire.events import Event
from hivewire_agent_gateway.registry import Registry
from hivewire_agent_gateway.sessions.sessions import Sessions
from hivewire_agent_gateway.states import Presence
from hivewire_agent_gateway.watch import ALLOWANCE_S
from hivewire_service.core import Refusal

from .conftest import Driver

AGENTS = st.sampled_from(["ann", "bob"])
INSTANCES = st.sampled_from(["a", "b", "c"])


class Fleet(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.heard: dict[tuple[str, str], datetime] = {}

    @property
    def agents(self):
        return self.driver.core.registry.agents

    def note(self, agent_id: str) -> None:
        """The present instance was heard just now."""
        agent = self.agents.get(agent_id)
        if agent and agent.presence is Presence.PRESENT:
            self.heard[agent_id, agent.instance] = self.driver.now

    @rule(agent_id=AGENTS, instance=INSTANCES, slots=st.integers(1, 2), times=st.integers(1, 2))
    def register(self, agent_id, instance, slots, times):
        for _ in range(times):
            before = self.agents.get(agent_id)
            replaced = before is not None and instance in before.replaced
            answer = self.driver.register(agent_id, instance, slots=slots)
            assert isinstance(answer, Refusal) == replaced
            if not replaced:
                agent = self.agents[agent_id]
                assert (agent.instance, agent.presence) == (instance, Presence.PRESENT)
                assert agent.card.slots == slots
                self.note(agent_id)

    @rule(agent_id=AGENTS, instance=INSTANCES, times=st.integers(1, 2))
    def leave(self, agent_id, instance, times):
        for _ in range(times):
            before = self.agents.get(agent_id)
            known = before is not None and before.instance == instance
            answer = self.driver.send(agent_id, "leave", instance=instance)
            assert isinstance(answer, Refusal) != known
            if known:
                assert self.agents[agent_id].presence is Presence.AWAY

    @rule(agent_id=AGENTS, instance=INSTANCES)
    def beat(self, agent_id, instance):
        agent = self.agents.get(agent_id)
        told = self.driver.beat(agent_id, instance)
        if agent and agent.presence is Presence.PRESENT and agent.instance == instance:
            assert told == []
            self.note(agent_id)

    @rule(agent_id=AGENTS, verb=st.sampled_from(["drain", "undrain", "remove"]))
    def operate(self, agent_id, verb):
        known = agent_id in self.agents
        assert isinstance(self.driver.send("operator", verb, agent_id=agent_id), Refusal) != known

    @rule(seconds=st.sampled_from([0, 1, 4.9, 10, 20, 3600]))
    def time_passes(self, seconds):
        for crashed in self.driver.after(seconds):
            silent = self.driver.now - self.heard[crashed.agent_id, crashed.instance]
            assert silent >= timedelta(seconds=ALLOWANCE_S)

    @rule(seconds=st.sampled_from([1, 30]))
    def silence(self, seconds):
        """The gateway was deaf for a while; nobody may be blamed for it."""
        self.driver.now += timedelta(seconds=seconds)
        self.driver.core.extend(seconds, self.driver.now)
        for key in self.heard:
            self.heard[key] += timedelta(seconds=seconds)

    @rule()
    def restart(self):
        self.driver.core.restore(dict(self.agents), Sessions(), self.driver.now)
        for agent_id in self.agents:
            self.note(agent_id)

    @invariant()
    def events_add_up_to_the_state(self):
        registry = Registry()
        for event in self.driver.history:
            registry.evolve(event)
        assert registry.agents == self.agents

    @invariant()
    def two_instances_are_never_present(self):
        present: dict[str, str] = {}
        for event in self.driver.history:
            self._follow(event, present)
        assert present == {
            agent_id: agent.instance for agent_id, agent in self.agents.items() if agent.presence is Presence.PRESENT
        }

    @staticmethod
    def _follow(event: Event, present: dict[str, str]) -> None:
        """What another service, which knows the events alone, takes for the present instance."""
        match event.type:
            case "agent.spawned":
                assert present.get(event.agent_id) == event.replaces
                present[event.agent_id] = event.instance
            case "agent.resumed":
                assert present.get(event.agent_id, event.instance) == event.instance
                present[event.agent_id] = event.instance
            case "agent.stopped" | "agent.crashed" | "agent.deleted":
                assert present.pop(event.agent_id, event.instance) == event.instance

    @invariant()
    def nobody_present_is_silent_for_too_long(self):
        due = self.driver.core.next_due()
        present = [(i, a.instance) for i, a in self.agents.items() if a.presence is Presence.PRESENT]
        assert (due is None) == (not present)
        for key in present:
            assert due <= self.heard[key] + timedelta(seconds=ALLOWANCE_S)


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
