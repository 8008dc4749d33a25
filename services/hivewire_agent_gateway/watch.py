"""Who was not heard of for too long."""

import heapq
from datetime import datetime, timedelta
from typing import Final

from hivewire import limits

ALLOWANCE_S: Final = limits.BEAT_INTERVAL_S * limits.BEATS_MISSED_MAX
"""How long an agent may be silent while the gateway listens."""
LOST_PER_STEP_MAX: Final = 1_000
"""A fleet that is lost at once is written in several commits, each short."""

_ALLOWANCE = timedelta(seconds=ALLOWANCE_S)


class Watch:
    """The deadline of every present agent.

    A beat only moves a number. Each agent has one timer in the heap, never later than its deadline; a timer that
    goes off early is set again to the deadline.
    """

    def __init__(self) -> None:
        self._deadlines: dict[str, datetime] = {}
        self._armed: dict[str, datetime] = {}
        self._timers: list[tuple[datetime, str]] = []

    def __len__(self) -> int:
        return len(self._deadlines)

    def heard(self, agent_id: str, now: datetime) -> None:
        """The agent lives; watch it from now on."""
        deadline = now + _ALLOWANCE
        current = self._deadlines.get(agent_id)
        if current is None:
            self._deadlines[agent_id] = deadline
            self._arm(agent_id, deadline)
        elif deadline > current:
            self._deadlines[agent_id] = deadline

    def forget(self, agent_id: str) -> None:
        """Watch the agent no longer. Its timer stays in the heap until its turn comes."""
        self._deadlines.pop(agent_id, None)
        self._armed.pop(agent_id, None)

    def extend(self, silence_s: float) -> None:
        """Give everybody as much more as could not be heard."""
        silence = timedelta(seconds=silence_s)
        for agent_id in self._deadlines:
            self._deadlines[agent_id] += silence

    def silence_s(self, now: datetime) -> float:
        """How long ago the one was heard that has been silent for longest; 0 while nobody is watched."""
        first = min(self._deadlines.values(), default=now + _ALLOWANCE)
        return max(0.0, (now + _ALLOWANCE - first).total_seconds())

    def next_due(self) -> datetime | None:
        """When somebody might be overdue."""
        while self._timers and self._armed.get(self._timers[0][1]) != self._timers[0][0]:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def overdue(self, now: datetime) -> list[str]:
        """Agents whose deadline has passed, at most `LOST_PER_STEP_MAX`. They stay watched until they are forgotten."""
        found: dict[str, datetime] = {}
        while self._timers and self._timers[0][0] <= now and len(found) < LOST_PER_STEP_MAX:
            at, agent_id = heapq.heappop(self._timers)
            if self._armed.get(agent_id) != at:
                continue
            deadline = self._deadlines[agent_id]
            if deadline > now:
                self._arm(agent_id, deadline)
            else:
                found[agent_id] = at
        for agent_id, at in found.items():
            self._arm(agent_id, at)
        return list(found)

    def _arm(self, agent_id: str, at: datetime) -> None:
        self._armed[agent_id] = at
        heapq.heappush(self._timers, (at, agent_id))
