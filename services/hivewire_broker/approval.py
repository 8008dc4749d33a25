"""Work that people look at before it counts."""

from datetime import datetime
from typing import Final, Literal

import msgspec

from hivewire import fields
from hivewire.commands.broker import Approve, Reject
from hivewire.events.task import TaskApproved, TaskCompleted, TaskFailed, TaskQueued, TaskRejected
from hivewire_broker import oversight
from hivewire_broker.draft import Draft
from hivewire_broker.state import State
from hivewire_broker.task import Task
from hivewire_service.core import Command, Refusal, Step

REJECTED: Final = "the work was rejected"


def requested_by(state: State, task: Task) -> Literal["task", "initiative", "oversight"] | None:
    """What asks for approval of the task's work: the task's own word counts before its initiative's."""
    if task.requires_approval is not None:
        return "task" if task.requires_approval else None
    initiative = state.initiative_of(task.phase_id)
    if initiative is not None and initiative.requires_approval:
        return "initiative"
    watched = task.attempt is not None and task.attempt.oversight in oversight.APPROVED
    return "oversight" if watched else None


def approve(state: State, command: Command, now: datetime) -> Step | Refusal:
    """The work is accepted."""
    data: Approve = command.data
    task = _awaiting(state, data.task_id)
    if isinstance(task, Refusal):
        return task
    attempt = task.attempts[-1]
    return Step(
        [
            TaskApproved(task_id=task.task_id, by=command.sender, reason=data.reason),
            TaskCompleted(
                task_id=task.task_id,
                attempt=attempt.number,
                agent_id=attempt.agent_id,
                completed_at=now,
                message=data.reason,
                result=_result(state, task),
                cost=attempt.cost,
            ),
        ]
    )


def reject(state: State, command: Command, now: datetime) -> Step | Refusal:
    """The work is not accepted: it is done again, or has failed."""
    data: Reject = command.data
    task = _awaiting(state, data.task_id)
    if isinstance(task, Refusal):
        return task
    draft = Draft()
    draft.events.append(TaskRejected(task_id=task.task_id, by=command.sender, reason=data.reason, final=data.final))
    if data.final:
        attempt = task.attempts[-1]
        failed = TaskFailed(
            task_id=task.task_id,
            attempt=attempt.number,
            agent_id=attempt.agent_id,
            failed_at=now,
            error=f"{REJECTED}: {data.reason}" if data.reason else REJECTED,
        )
        draft.add(failed, "failed")
    else:
        queued = TaskQueued(task_id=task.task_id, priority=task.priority, depends_on=list(task.depends_on))
        draft.add(queued, "pending")
    return draft.step()


def _awaiting(state: State, task_id: str) -> Task | Refusal:
    task = state.tasks.get(task_id)
    if task is None:
        return Refusal(f"there is no task {task_id!r}", 404)
    if task.status != "pending_approval":
        return Refusal(
            f"task {task_id} is {task.status}: only what is pending_approval can be approved or rejected", 409
        )
    return task


def _result(state: State, task: Task) -> msgspec.Raw:
    return state.results.get(task.task_id, fields.NULL)
