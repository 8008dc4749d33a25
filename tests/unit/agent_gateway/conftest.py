from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from hivewire.commands.agent_gateway import VERBS
from hivewire.events import Event
from hivewire.inbox import Beat
from hivewire_agent_gateway.core import AgentGateway
from hivewire_service.core import Command, Refusal

START = datetime(2026, 1, 1, tzinfo=UTC)


class Driver:
    """Drives a core as the loop does, without a bus or a database."""

    def __init__(self) -> None:
        self.core = AgentGateway()
        self.now = START
        self.history: list[Event] = []
        self._ids = count()

    def send(self, sender: str, verb: str, **data: Any) -> list[Event] | Refusal:
        command = Command(str(next(self._ids)), verb, sender, VERBS[verb](**data))
        step = self.core.decide(command, self.now)
        return step if isinstance(step, Refusal) else self._evolve(step.events)

    def register(self, agent_id: str, instance: str = "a", **card: Any) -> list[Event] | Refusal:
        return self.send(agent_id, "register", instance=instance, **card)

    def beat(self, agent_id: str, instance: str = "a") -> list[Any]:
        return self.core.observe(Beat(agent_id, instance), self.now).records

    def after(self, seconds: float) -> list[Event]:
        self.now += timedelta(seconds=seconds)
        return self._evolve(self.core.advance(self.now).events)

    def _evolve(self, events: list[Event]) -> list[Event]:
        for event in events:
            self.core.evolve(event)
        self.history += events
        return events


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def types() -> Callable[[Any], list[str]]:
    return lambda events: [event.type for event in events]
