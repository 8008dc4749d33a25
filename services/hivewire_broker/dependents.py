"""What becomes of the tasks that depend on one which ended without success, or which is open again."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from hivewire.events.task import TaskBlocked, TaskCancelled, TaskUnblocked
from hivewire.views import TERMINAL, TaskStatus
from hivewire_broker.draft import Draft
from hivewire_broker.state import State
from hivewire_broker.task import Task

BROKER: Final = "broker"
"""Who cancels a task when nobody asked for it."""


def after_bad_end(draft: Draft, state: State, task_id: str, status: TaskStatus, now: datetime) -> None:
    """Block or cancel whatever waits for a task that ended without success, and so on for what is cancelled."""
    ended: list[tuple[str, TaskStatus]] = [(task_id, status)]
    for ended_id, how in ended:
        for dependent_id in state.dependents.get(ended_id, ()):
            dependent = state.tasks[dependent_id]
            before = draft.status(dependent)
            if before in TERMINAL:
                continue
            if dependent.on_dependency_failure == "cancel":
                cancel_for(draft, dependent_id, ended_id, how, now)
                ended.append((dependent_id, "cancelled"))
            elif before != "blocked":
                block_for(draft, dependent_id, ended_id, how)


def after_reopening(draft: Draft, state: State, task_id: str) -> None:
    """Give back what was blocked because of a task that is open again, unless another dependency blocks it too."""
    for dependent_id in state.dependents.get(task_id, ()):
        dependent = state.tasks[dependent_id]
        if dependent.status == "blocked" and dependent.blocked_by == task_id:
            blocker = blocking(draft, state, dependent)
            if blocker is None:
                draft.events.append(TaskUnblocked(task_id=dependent_id, reason=f"task {task_id} is open again"))
            else:
                block_for(draft, dependent_id, blocker.task_id, blocker.status)


def blocking(draft: Draft, state: State, task: Task) -> Task | None:
    """The first dependency of a task that ended without success."""
    return first_bad(draft, state, task.depends_on)


def first_bad(draft: Draft, state: State, depends_on: Iterable[str]) -> Task | None:
    """The first of these tasks that ended without success."""
    for dependency_id in depends_on:
        dependency = state.tasks.get(dependency_id)
        if dependency is not None and draft.status(dependency) in TERMINAL - {"completed"}:
            return dependency
    return None


def block_for(draft: Draft, task_id: str, dependency_id: str, how: TaskStatus) -> None:
    """Block a task because of a dependency that ended without success."""
    reason = f"it depends on task {dependency_id}, which ended {how}"
    draft.add(TaskBlocked(task_id=task_id, reason=reason, blocked_by=dependency_id), "blocked")


def cancel_for(draft: Draft, task_id: str, dependency_id: str, how: TaskStatus, now: datetime) -> None:
    """Cancel a task because of a dependency that ended without success."""
    reason = f"it depends on task {dependency_id}, which ended {how}"
    draft.add(TaskCancelled(task_id=task_id, cancelled_at=now, by=BROKER, reason=reason), "cancelled")
