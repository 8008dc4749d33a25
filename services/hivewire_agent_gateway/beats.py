"""Heartbeats, as far as the registry cares: who is alive, and which instances have to be told something."""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from hivewire import limits
from hivewire.inbox import Beat, Replaced, Sync
from hivewire_agent_gateway.registry import Agent

_INTERVAL = timedelta(seconds=limits.BEAT_INTERVAL_S)
TOLD_MAX: Final = 10_000
"""Instances told within one interval. Beyond it the others wait: a flood of invented instances costs no memory."""


class Tell(msgspec.Struct, frozen=True):
    """An inbox message that follows from no event."""

    agent_id: str
    message: Replaced | Sync


class Told:
    """Whom something was told lately: an instance that is not the agent's hears of it once a beat interval."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, str], datetime] = {}

    def due(self, beat: Beat, now: datetime) -> bool:
        """Whether to tell this instance now; if so, that is remembered."""
        self._drop_old(now)
        key = (beat.agent_id, beat.instance)
        if key in self._at or len(self._at) >= TOLD_MAX:
            return False
        self._at[key] = now
        return True

    def _drop_old(self, now: datetime) -> None:
        """Entries are in the order of their time; one from the future is of a clock that was set back."""
        while self._at:
            oldest = next(iter(self._at))
            if timedelta(0) <= now - self._at[oldest] < _INTERVAL:
                return
            del self._at[oldest]


def answer(agent: Agent | None, beat: Beat) -> Tell:
    """What to tell an instance that beats and is not the present one of its agent."""
    if agent is not None and beat.instance in agent.replaced:
        return Tell(beat.agent_id, Replaced(agent.instance))
    return Tell(beat.agent_id, Sync(beat.instance))
