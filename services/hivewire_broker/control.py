"""What people ask for a task: that it ends, or that it is tried again."""

from datetime import datetime

from hivewire.commands.broker import Cancel, Retry
from hivewire.events.task import TaskCancelled, TaskReopened
from hivewire_broker.dependents import after_bad_end, after_reopening, block_for, blocking
from hivewire_broker.draft import Draft
from hivewire_broker.state import State
from hivewire_service.core import NOTHING, Command, Refusal, Step


def cancel(state: State, command: Command, now: datetime) -> Step | Refusal:
    """End a task; the agent that works on it is told."""
    data: Cancel = command.data
    task = state.tasks.get(data.task_id)
    if task is None:
        return Refusal(f"there is no task {data.task_id!r}", 404)
    if task.status == "cancelled":
        return NOTHING
    if task.ended:
        return Refusal(f"task {task.task_id} has ended {task.status}: there is nothing to cancel", 409)
    draft = Draft()
    attempt = task.open_attempt
    cancelled = TaskCancelled(
        task_id=task.task_id,
        cancelled_at=now,
        by=command.sender,
        reason=data.reason,
        attempt=attempt.number if attempt else 0,
        agent_id=attempt.agent_id if attempt else None,
    )
    draft.add(cancelled, "cancelled")
    if attempt is not None:
        draft.tell_cancel(task, attempt, data.reason or f"cancelled by {command.sender}")
    after_bad_end(draft, state, task.task_id, "cancelled", now)
    return draft.step()


def retry(state: State, command: Command, now: datetime) -> Step | Refusal:
    """Open a task again that ended without success."""
    data: Retry = command.data
    task = state.tasks.get(data.task_id)
    if task is None:
        return Refusal(f"there is no task {data.task_id!r}", 404)
    if not task.ended or task.status == "completed":
        reason = "only what ended failed, dead_lettered or cancelled can be tried again"
        return Refusal(f"task {task.task_id} is {task.status}: {reason}", 409)
    draft = Draft()
    blocker = blocking(draft, state, task)
    if blocker is not None and task.on_dependency_failure == "cancel":
        reason = f"it depends on task {blocker.task_id}, which ended {blocker.status}: retry that one first"
        return Refusal(f"task {task.task_id} can't be tried again: {reason}", 409)
    draft.add(
        TaskReopened(task_id=task.task_id, by=command.sender, reason=data.reason, reopened_at=now),
        "pending",
    )
    after_reopening(draft, state, task.task_id)
    if blocker is not None:
        block_for(draft, task.task_id, blocker.task_id, blocker.status)
    return draft.step()
