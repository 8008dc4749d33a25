"""The agents as the broker sees them: the gateway's facts, remembered in memory only.

They are another service's events and therefore no part of the broker's own fold.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Final, Literal

import msgspec

STILL_BEATS_MAX: Final = 3
"""An agent whose work loop did not turn for so many beats is degraded."""

Presence = Literal["present", "lost", "away"]


class AgentSeen(msgspec.Struct, kw_only=True):
    """What matching needs to know of an agent."""

    agent_id: str
    instance: str
    presence: Presence = "present"
    drained: bool = False
    capabilities: frozenset[str] = frozenset()
    slots: int = 1
    owner: str | None = None
    policy: str = "always-on"
    degraded: bool = False
    """It beats, but its work loop stands still, or its endpoint cannot be reached. Known from beats only."""
    wakeable: bool = False
    """Its card says how it is woken."""
    left_asleep: bool = False
    """It could not be woken a short while ago. Remembered in memory only."""

    @property
    def asleep(self) -> bool:
        """Whether it is away and could be woken for a task."""
        return self.presence == "away" and self.policy == "on-demand" and self.wakeable and not self.left_asleep


class Fleet:
    """All known agents, and which of them changed since the matcher last looked."""

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self.composition = 0
        """Grows whenever an agent comes, goes, or gets another card: what agents could ever take has changed."""
        self.holders: Counter[str] = Counter()
        """How many known agents have a capability."""
        self._agents: dict[str, AgentSeen] = {}
        self._asleep_until: dict[str, datetime] = {}
        self._loops: dict[str, tuple[str, int, int]] = {}
        """By agent: its instance, how often its work loop has turned, and how many beats said so."""

    def __len__(self) -> int:
        return len(self._agents)

    def __iter__(self) -> Iterator[AgentSeen]:
        return iter(self._agents.values())

    def get(self, agent_id: str) -> AgentSeen | None:
        """The agent, if it is known."""
        return self._agents.get(agent_id)

    def put(self, agent: AgentSeen) -> None:
        """Know an agent, or know it better."""
        known = self._agents.get(agent.agent_id)
        self._agents[agent.agent_id] = agent
        self.changed.add(agent.agent_id)
        if known is None or (known.capabilities, known.owner) != (agent.capabilities, agent.owner):
            self.holders.update(agent.capabilities)
            self.holders.subtract(known.capabilities if known else ())
            self.composition += 1

    def remove(self, agent_id: str) -> None:
        """Forget an agent."""
        agent = self._agents.pop(agent_id, None)
        self._loops.pop(agent_id, None)
        if agent is not None:
            self.holders.subtract(agent.capabilities)
            self.changed.add(agent_id)
            self.composition += 1

    def leave_asleep(self, agent_id: str, until: datetime) -> None:
        """The agent could not be woken: it is not woken again before `until`, unless it comes by itself."""
        agent = self._agents.get(agent_id)
        if agent is not None and agent.presence != "present":
            agent.left_asleep = True
            self._asleep_until[agent_id] = until
            self.changed.add(agent_id)

    def may_wake(self, now: datetime) -> None:
        """Those that were left asleep for long enough may be woken again."""
        for agent_id in [agent_id for agent_id, until in self._asleep_until.items() if until <= now]:
            del self._asleep_until[agent_id]
            agent = self._agents.get(agent_id)
            if agent is not None:
                agent.left_asleep = False
                self.changed.add(agent_id)

    def next_due(self) -> datetime | None:
        """When an agent may be woken again."""
        return min(self._asleep_until.values(), default=None)

    def heard(self, agent_id: str, instance: str, loop_count: int, *, degraded: bool = False) -> None:
        """A beat told how often the agent's work loop has turned (0: the agent does not count), and whether the agent is
        degraded for a reason of its own."""
        agent = self._agents.get(agent_id)
        if agent is None or agent.instance != instance:
            return
        known = self._loops.get(agent_id, (instance, -1, 0))
        still = known[2] + 1 if known[:2] == (instance, loop_count) and loop_count else 0
        self._loops[agent_id] = (instance, loop_count, still)
        degraded = degraded or still >= STILL_BEATS_MAX
        if agent.degraded is not degraded:
            agent.degraded = degraded
            self.changed.add(agent_id)

    def present_instance(self, agent_id: str) -> str | None:
        """The instance that speaks for the agent now, or None when it is not there."""
        agent = self._agents.get(agent_id)
        return agent.instance if agent and agent.presence == "present" else None
