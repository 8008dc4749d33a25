"""Changing what a task depends on after it was submitted."""

from collections.abc import Sequence
from datetime import datetime

from hivewire.events.task import TaskUnblocked
from hivewire_broker.cycles import cycle_through
from hivewire_broker.dependents import block_for, cancel_for, first_bad
from hivewire_broker.draft import Draft
from hivewire_broker.state import State
from hivewire_broker.task import Task
from hivewire_service.core import Refusal


def impossible(state: State, task: Task, depends_on: Sequence[str]) -> Refusal | None:
    """Why the task can't depend on these from now on."""
    if task.status not in {"pending", "blocked"}:
        return Refusal(f"task {task.task_id} is {task.status}: what it depends on can't be changed now", 409)
    unknown = next((needed for needed in depends_on if needed not in state.tasks), None)
    if unknown is not None:
        return Refusal(f"depends_on names the unknown task {unknown!r}")
    cycle = cycle_through(task.task_id, depends_on, lambda needed: _needs(state, needed))
    return None if cycle is None else Refusal(f"dependency cycle: {cycle}")


def follow(draft: Draft, state: State, task: Task, depends_on: Sequence[str], now: datetime) -> None:
    """What becomes of the task: one of these may have ended without success, or the one that blocked it is none of them."""
    bad = first_bad(state, depends_on)
    if bad is None:
        if task.blocked_by is not None:
            reason = f"it does not depend on task {task.blocked_by} any more"
            draft.add(TaskUnblocked(task_id=task.task_id, reason=reason), "pending")
    elif task.on_dependency_failure == "cancel":
        cancel_for(draft, task.task_id, bad.task_id, bad.status, now)
    elif task.status != "blocked" or (task.blocked_by is not None and task.blocked_by not in depends_on):
        block_for(draft, task.task_id, bad.task_id, bad.status)


def _needs(state: State, task_id: str) -> Sequence[str]:
    """What a task still waits for or could wait for again: whatever is completed stays so."""
    task = state.tasks.get(task_id)
    return () if task is None or task.status == "completed" else task.depends_on
