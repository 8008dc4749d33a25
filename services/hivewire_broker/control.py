"""What people ask for a task: that it ends, is tried again, waits, goes on, or changes."""

from datetime import datetime

from hivewire import fields
from hivewire.commands.broker import Block, Cancel, Queue, Retry, Unblock, Update
from hivewire.events.task import (
    TaskBlocked,
    TaskCancelled,
    TaskQueued,
    TaskReopened,
    TaskUnblocked,
    TaskUpdated,
)
from hivewire_broker import rearranging
from hivewire_broker.dependents import block_for, blocking
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
    blocker = blocking(state, task)
    if blocker is not None and task.on_dependency_failure == "cancel":
        reason = f"it depends on task {blocker.task_id}, which ended {blocker.status}: retry that one first"
        return Refusal(f"task {task.task_id} can't be tried again: {reason}", 409)
    draft.add(
        TaskReopened(task_id=task.task_id, by=command.sender, reason=data.reason, reopened_at=now),
        "pending",
    )
    if blocker is not None:
        block_for(draft, task.task_id, blocker.task_id, blocker.status)
    return draft.step()


def block(state: State, command: Command, _now: datetime) -> Step | Refusal:
    """Keep a pending task back."""
    data: Block = command.data
    task = state.tasks.get(data.task_id)
    if task is None:
        return Refusal(f"there is no task {data.task_id!r}", 404)
    if task.status not in {"pending", "blocked"}:
        return Refusal(f"task {task.task_id} is {task.status}: only a pending one can be blocked", 409)
    reason = data.reason or f"blocked by {command.sender}"
    if task.status == "blocked" and task.reason == reason:
        return NOTHING
    return Step([TaskBlocked(task_id=task.task_id, reason=reason)])


def unblock(state: State, command: Command, _now: datetime) -> Step | Refusal:
    """Let a blocked task go on, unless what it depends on still keeps it from that."""
    data: Unblock = command.data
    task = state.tasks.get(data.task_id)
    if task is None:
        return Refusal(f"there is no task {data.task_id!r}", 404)
    if task.status != "blocked":
        return Refusal(f"task {task.task_id} is {task.status}, not blocked", 409)
    blocker = blocking(state, task)
    if blocker is not None:
        reason = f"it depends on task {blocker.task_id}, which ended {blocker.status}: retry that one"
        return Refusal(f"task {task.task_id} can't go on: {reason}", 409)
    return Step([TaskUnblocked(task_id=task.task_id, reason=data.reason)])


def queue(state: State, command: Command, _now: datetime) -> Step | Refusal:
    """Let a task of a phase that has not started be dispatched."""
    data: Queue = command.data
    task = state.tasks.get(data.task_id)
    if task is None:
        return Refusal(f"there is no task {data.task_id!r}", 404)
    if task.ended:
        return Refusal(f"task {task.task_id} has ended {task.status}: only what has not can be queued", 409)
    if task.queued:
        return NOTHING
    return Step([TaskQueued(task_id=task.task_id, priority=task.priority, depends_on=list(task.depends_on))])


def update(state: State, command: Command, now: datetime) -> Step | Refusal:
    """Change what a task says of itself."""
    data: Update = command.data
    task = state.tasks.get(data.task_id)
    if task is None:
        return Refusal(f"there is no task {data.task_id!r}", 404)
    if task.ended:
        return Refusal(f"task {task.task_id} has ended {task.status}: it can't be changed", 409)
    given = data.metadata is not fields.ABSENT
    changes = (data.labels, data.priority, data.timeout_seconds, data.depends_on)
    if not given and changes == (None,) * len(changes):
        return Refusal("nothing to change: give metadata, labels, priority, timeout_seconds or depends_on", 400)
    depends_on = None if data.depends_on is None else list(dict.fromkeys(data.depends_on))
    refusal = None if depends_on is None else rearranging.impossible(state, task, depends_on)
    if refusal is not None:
        return refusal
    draft = Draft()
    draft.events.append(
        TaskUpdated(
            task_id=task.task_id,
            by=command.sender,
            metadata=data.metadata.copy() if given else fields.ABSENT,
            labels=data.labels,
            priority=fields.PRIORITIES[data.priority] if isinstance(data.priority, str) else data.priority,
            timeout_seconds=data.timeout_seconds,
            depends_on=depends_on,
        )
    )
    if depends_on is not None:
        rearranging.follow(draft, state, task, depends_on, now)
    return draft.step()
