"""What becomes of the tasks that depend on one which ended without success, or which is open again.

They are looked at one after the other, some in each step: a task may have any number of dependents. What a look finds
follows from how the tasks stand, so that it may be repeated, and after a restart begins anew.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from hivewire.events.task import TaskBlocked, TaskCancelled, TaskUnblocked
from hivewire.views import TaskStatus
from hivewire_broker.draft import Draft
from hivewire_broker.state import State
from hivewire_broker.task import Task

BROKER: Final = "broker"
"""Who cancels a task when nobody asked for it."""
REVIEWED_MAX: Final = 1_000
"""Dependents that one step looks at; the others follow in the next step."""


def review(draft: Draft, state: State, now: datetime) -> None:
    """Block, cancel or give back the dependents of tasks that ended without success or are open again."""
    for _ in range(min(REVIEWED_MAX, len(state.to_review))):
        task = state.tasks.get(state.to_review.popleft())
        if task is None:
            continue
        if task.task_id in draft.fates:
            state.to_review.append(task.task_id)
        elif task.status == "pending" or (task.status == "blocked" and task.blocked_by is not None):
            _review(draft, state, task, now)


def _review(draft: Draft, state: State, task: Task, now: datetime) -> None:
    bad = blocking(state, task)
    if bad is None:
        if task.status == "blocked":
            reason = f"task {task.blocked_by} is open again"
            draft.add(TaskUnblocked(task_id=task.task_id, reason=reason), "pending")
    elif task.on_dependency_failure == "cancel":
        cancel_for(draft, task.task_id, bad.task_id, bad.status, now)
    elif task.status == "pending" or not _is_bad(state.tasks.get(task.blocked_by or "")):
        block_for(draft, task.task_id, bad.task_id, bad.status)


def blocking(state: State, task: Task) -> Task | None:
    """The first dependency of a task that ended without success."""
    return first_bad(state, task.depends_on)


def first_bad(state: State, depends_on: Iterable[str]) -> Task | None:
    """The first of these tasks that ended without success."""
    found = (state.tasks.get(task_id) for task_id in depends_on)
    return next((task for task in found if _is_bad(task)), None)


def _is_bad(task: Task | None) -> bool:
    return task is not None and task.ended and task.status != "completed"


def block_for(draft: Draft, task_id: str, dependency_id: str, how: TaskStatus) -> None:
    """Block a task because of a dependency that ended without success."""
    reason = f"it depends on task {dependency_id}, which ended {how}"
    draft.add(TaskBlocked(task_id=task_id, reason=reason, blocked_by=dependency_id), "blocked")


def cancel_for(draft: Draft, task_id: str, dependency_id: str, how: TaskStatus, now: datetime) -> None:
    """Cancel a task because of a dependency that ended without success."""
    reason = f"it depends on task {dependency_id}, which ended {how}"
    draft.add(TaskCancelled(task_id=task_id, cancelled_at=now, by=BROKER, reason=reason), "cancelled")
