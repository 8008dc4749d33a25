"""Deadlines: of a task, to start an attempt, to finish it. All in absolute times; nothing here reads a clock."""

from datetime import datetime, timedelta

from hivewire.events.task import TimeoutKind
from hivewire_broker.task import Attempt, Task


def due_at(task: Task) -> datetime | None:
    """When the task must be looked at although nothing happened, or None."""
    if task.ended or task.status == "pending_approval":
        return None
    attempt = task.open_attempt
    if attempt is not None:
        return expires_at(task, attempt)[0]
    wakes_at = task.wakes_at if task.dispatchable and not task.in_line else None
    moments = (wakes_at, task.deadline, task.waits_until)
    return min((moment for moment in moments if moment is not None), default=None)


def expires_at(task: Task, attempt: Attempt) -> tuple[datetime, TimeoutKind]:
    """When an open attempt ends by itself, and how.

    The time in which its agent could not be heard does not count, nor, for finishing it, that in which it waits for answers.
    """
    kind: TimeoutKind
    if attempt.started_at is None:
        kind, limit = "start", attempt.assigned_at + timedelta(seconds=task.start_timeout_s)
    else:
        kind, limit = "run", attempt.started_at + timedelta(seconds=task.timeout_s + attempt.pause.seconds)
    if task.deadline is not None and task.deadline < limit:
        kind, limit = "deadline", task.deadline
    return (limit + timedelta(seconds=attempt.grace_s) if attempt.grace_s else limit), kind
