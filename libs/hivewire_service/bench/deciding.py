"""What choosing an agent costs the broker's core, its record included: no server takes part.

Agents have random skills and a past of their own. All get work at once; after that, whoever completes a task gets the
next one of a long queue.
"""

import gc
import random
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import msgspec

from hivewire import codec
from hivewire.commands.broker import Complete, SubmitBatch
from hivewire.events.agent import AgentSpawned, Card
from hivewire.events.task import TaskAssigned
from hivewire_service.bench.size import Size
from hivewire_service.core import Command, Refusal, Step

SKILLS = [f"skill-{number}" for number in range(20)]
SKILLS_OF_AGENT = 4
SLOTS = 4
BATCH = 1_000
COMPLETED_AT_ONCE = 100
SMALL, LARGE = (100, 20_000, 10_000), (10_000, 100_000, 60_000)
"""Agents, tasks in the queue, choices that are measured."""
QUICK_SHARE = 10


class Deciding(msgspec.Struct, frozen=True):
    """The figures of a run: mean microseconds of processor time a choice, with its record encoded."""

    us_with_100_agents: float
    us_with_10000_agents: float
    problems: list[str]


async def run(size: Size) -> Deciding:
    """Measure."""
    share = QUICK_SHARE if size.quick else 1
    small, large = (measure(agents, tasks // share, choices // share) for agents, tasks, choices in (SMALL, LARGE))
    return Deciding(round(small, 1), round(large, 1), problems=[])


def measure(agents: int, tasks: int, choices: int) -> float:
    """Mean microseconds of a choice, among so many agents for the first of so many tasks."""
    fleet = _Fleet(agents)
    fleet.submit(tasks)
    gc.collect()
    gc.freeze()
    while fleet.chosen < choices:
        fleet.assign()
        fleet.complete()
    gc.unfreeze()
    return fleet.spent_s / fleet.chosen * 1e6


class _Fleet:
    """A broker's core with its agents, driven as the loop drives it."""

    def __init__(self, agents: int) -> None:
        self.spent_s = 0.0
        self.chosen = 0
        # The chassis knows no service by import.
        self._core: Any = import_module("hivewire_broker.core").Broker("bench")
        self._choice = random.Random(1)  # noqa: S311 - the same fleet each time
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._held: deque[TaskAssigned] = deque()
        for number in range(agents):
            card = Card(name="agent", capabilities=sorted(self._choice.sample(SKILLS, SKILLS_OF_AGENT)), slots=SLOTS)
            spawned = AgentSpawned(agent_id=f"agent-{number:05}", instance="1", card=card, spawned_at=self._now)
            self._follow(self._core.observe(spawned, self._now))

    def submit(self, tasks: int) -> None:
        """Fill the queue."""
        for first in range(0, tasks, BATCH):
            batch = SubmitBatch([self._task() for _ in range(min(BATCH, tasks - first))])
            self._send("submit_batch", batch, "bench", f"batch-{first}")

    def assign(self) -> None:
        """Let the core choose, and measure the processor time of that."""
        began_s = time.process_time()
        step: Step = self._core.advance(self._now)
        for record in step.records:
            codec.encode(record)
        self.spent_s += time.process_time() - began_s
        assigned = [event for event in step.events if isinstance(event, TaskAssigned)]
        self.chosen += len(assigned)
        self._held += assigned
        self._follow(step)

    def complete(self) -> None:
        """Some agents, any of them, complete a task."""
        self._now += timedelta(milliseconds=50)
        for _ in range(min(COMPLETED_AT_ONCE, len(self._held))):
            self._held.rotate(-self._choice.randrange(len(self._held)))
            done = self._held.popleft()
            report = Complete(done.task_id, done.attempt, done.instance)
            self._send("complete", report, done.agent_id, f"done-{done.task_id}")

    def _task(self) -> msgspec.Raw:
        wanted = {
            "title": "task",
            "required_capabilities": [self._choice.choice(SKILLS)],
            "priority": self._choice.randrange(11),
        }
        return codec.raw(wanted)

    def _send(self, verb: str, data: msgspec.Struct, sender: str, command_id: str) -> None:
        answer: Step | Refusal = self._core.decide(Command(command_id, verb, sender, data), self._now)
        assert isinstance(answer, Step)
        self._follow(answer)

    def _follow(self, step: Step) -> None:
        for event in step.events:
            self._core.evolve(event)
