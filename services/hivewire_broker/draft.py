"""A step in the making: facts not yet evolved, with the statuses that they will lead to."""

from typing import Any, Final

import msgspec

from hivewire.events import Event
from hivewire.views import TaskStatus
from hivewire_broker.task import Attempt, Task
from hivewire_service.core import Step

NOT_HELD: Final = "this attempt is not yours any more"


class Resend(msgspec.Struct, frozen=True):
    """Send the dispatch of an open attempt again."""

    task_id: str
    attempt: int
    agent_id: str
    instance: str


class TellCancel(msgspec.Struct, frozen=True):
    """Tell an agent's instance that an attempt is not its own any more."""

    agent_id: str
    task_id: str
    attempt: int
    instance: str
    reason: str


class Draft:
    """Collects what follows from one input. Decisions later in a draft see what earlier ones made of a task."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.records: list[Any] = []
        self.fates: dict[str, TaskStatus] = {}
        """What becomes of the tasks that the draft is about."""

    def status(self, task: Task) -> TaskStatus:
        """The status of a task after this draft."""
        return self.fates.get(task.task_id, task.status)

    def add(self, event: Event, status: TaskStatus) -> None:
        """Add an event after which, and after those that follow it at once, its task has this status."""
        self.events.append(event)
        self.fates[event.entity_id] = status

    def tell_cancel(self, task: Task, attempt: Attempt, reason: str) -> None:
        """Tell the agent of an open attempt to stop."""
        self.records.append(
            TellCancel(attempt.agent_id, task.task_id, attempt.number, attempt.instance, reason),
        )

    def tell_not_held(self, agent_id: str, task_id: str, attempt: int, instance: str) -> None:
        """Tell an agent that it works on something that is not its own."""
        self.records.append(TellCancel(agent_id, task_id, attempt, instance, NOT_HELD))

    def resend(self, task: Task, attempt: Attempt) -> None:
        """Send an open attempt to its agent again."""
        self.records.append(Resend(task.task_id, attempt.number, attempt.agent_id, attempt.instance))

    def step(self) -> Step:
        """The finished step."""
        return Step(self.events, self.records)
