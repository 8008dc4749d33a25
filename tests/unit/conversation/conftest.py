from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import msgspec
import pytest

from hivewire.commands.conversation import VERBS
from hivewire.events import Event
from hivewire_conversation.core import Conversations
from hivewire_conversation.seen import AgentSeen, AttemptSeen
from hivewire_service.core import Command, Refusal

START = datetime(2026, 1, 1, tzinfo=UTC)


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


class Driver:
    """Drives a core as the loop does, without a bus or a database."""

    def __init__(self) -> None:
        self.core = Conversations()
        self.now = START
        self.history: list[Event] = []
        self._ids = count()

    def know(self, *agent_ids: str, **card: Any) -> None:
        for agent_id in agent_ids:
            self.core.seen.agents[agent_id] = AgentSeen(agent_id=agent_id, instance="i1", **card)

    def give(self, agent_id: str, task_id: str, attempt: int = 1, *, still_open: bool = True) -> None:
        seen = AttemptSeen(task_id=task_id, attempt=attempt, agent_id=agent_id, open=still_open)
        self.core.seen.attempts[task_id, attempt] = seen
        self.core.seen.tasks[task_id] = seen

    def send(self, sender: str, verb: str, **data: Any) -> list[Event] | Refusal:
        """The events of a command; its refusal, if it has no event."""
        command = Command(str(next(self._ids)), verb, sender, VERBS[verb](**data))
        step = self.core.decide(command, self.now)
        if isinstance(step, Refusal):
            return step
        events = self._evolve(step.events)
        self.replied = self.core.reply(command)
        return events

    def ask(self, sender: str, target: str, question: Any = "?", **data: Any) -> list[Event] | Refusal:
        return self.send(sender, "ask", target=target, question=raw(question), **data)

    def answer(self, sender: str, conversation_id: str, answer: Any = "!") -> list[Event] | Refusal:
        return self.send(sender, "answer", conversation_id=conversation_id, answer=raw(answer))

    def observe(self, observation: Any) -> tuple[list[Event], list[Any]]:
        step = self.core.observe(observation, self.now)
        return self._evolve(step.events), step.records

    def after(self, seconds: float) -> tuple[list[Event], list[Any]]:
        self.now += timedelta(seconds=seconds)
        step = self.core.advance(self.now)
        return self._evolve(step.events), step.records

    def state_of(self, conversation_id: str) -> str:
        return self.core.state.conversations[conversation_id].state

    def _evolve(self, events: list[Event]) -> list[Event]:
        for event in events:
            self.core.evolve(event)
        self.history += events
        return events


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.know("ann", "bob", "eve")
    return driver


@pytest.fixture
def types() -> Callable[[Any], list[str]]:
    return lambda events: [event.type for event in events]
