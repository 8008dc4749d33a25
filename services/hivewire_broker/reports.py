"""What agents report about their attempts. The attempt, its agent and its instance are the fence."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Final

import msgspec

from hivewire import codec
from hivewire.commands.broker import (
    Complete,
    CompleteReport,
    Fail,
    FailReport,
    Progress,
    ProgressReport,
    ReportBatch,
    Start,
    StartReport,
)
from hivewire.events import Event
from hivewire.events.task import TaskCompleted, TaskFailed, TaskPendingApproval, TaskProgress, TaskStarted
from hivewire.subjects import OPERATOR
from hivewire.views import AttemptStatus, ReportRefused
from hivewire_broker.approval import requested_by
from hivewire_broker.draft import Draft
from hivewire_broker.retry import after_attempt
from hivewire_broker.state import State
from hivewire_broker.task import Attempt, Task
from hivewire_service.core import NOTHING, Command, Kept, Refusal, Step

_REPORTED: Final = frozenset[AttemptStatus]({"completed", "failed"})
"""Ends of an attempt that its own agent reported."""


def start(state: State, command: Command, now: datetime) -> Step | Refusal:
    """The handler runs."""
    data: Start = command.data
    fenced = _fence(state, data.task_id, data.attempt, data.instance, command.sender)
    if isinstance(fenced, Refusal):
        return fenced
    task, attempt = fenced
    if attempt.status == "assigned":
        return Step([_started(task, attempt, now)])
    if attempt.open or attempt.status in _REPORTED:
        return NOTHING
    return _over(attempt)


def progress(state: State, command: Command, now: datetime) -> Step | Refusal:
    """The handler says how far it is; this implies that it runs."""
    data: Progress = command.data
    fenced = _fence(state, data.task_id, data.attempt, data.instance, command.sender)
    if isinstance(fenced, Refusal):
        return fenced
    task, attempt = fenced
    if attempt.status in _REPORTED:
        return NOTHING
    if not attempt.open:
        return _over(attempt)
    if (task.progress, task.progress_message) == (data.progress, data.message):
        return NOTHING
    told = TaskProgress(
        task_id=task.task_id,
        attempt=attempt.number,
        agent_id=attempt.agent_id,
        progress=data.progress,
        message=data.message,
    )
    return Step([told] if attempt.started_at else [_started(task, attempt, now), told])


def complete(state: State, command: Command, now: datetime) -> Step | Refusal:
    """The work is done. An attempt that never reported its start may complete too."""
    data: Complete = command.data
    if data.attempt is None or data.instance is None:
        return _complete_unassigned(state, data, command.sender, now)
    fenced = _fence(state, data.task_id, data.attempt, data.instance, command.sender)
    if isinstance(fenced, Refusal):
        return fenced
    task, attempt = fenced
    if not attempt.open:
        return NOTHING if attempt.status == "completed" else _over(attempt)
    asked_by = requested_by(state, task)
    if asked_by is None:
        completed = TaskCompleted(
            task_id=task.task_id,
            attempt=attempt.number,
            agent_id=attempt.agent_id,
            completed_at=now,
            result=data.result,
            cost=data.cost,
        )
        return Step([completed])
    finished = TaskPendingApproval(
        task_id=task.task_id,
        attempt=attempt.number,
        agent_id=attempt.agent_id,
        finished_at=now,
        requested_by=asked_by,
        result=data.result,
        cost=data.cost,
    )
    return Step([finished])


def _complete_unassigned(state: State, data: Complete, sender: str, now: datetime) -> Step | Refusal:
    """Somebody who is no agent of the task says that it is done."""
    task = state.tasks.get(data.task_id)
    if task is None:
        return _forged(f"there is no task {data.task_id!r}", 404)
    if sender not in (task.requirements.owner, OPERATOR):
        return _forged("without attempt and instance only the task's owner or the operator completes it", 403)
    if task.status == "completed" and not task.attempts:
        return NOTHING
    if task.status != "pending":
        return Refusal(f"task {task.task_id} is {task.status}: only a pending one is completed without its agent", 409)
    completed = TaskCompleted(task_id=task.task_id, attempt=0, agent_id=sender, completed_at=now, result=data.result)
    return Step([completed])


def fail(state: State, command: Command, now: datetime) -> Step | Refusal:
    """The work could not be done, for now or for good."""
    data: Fail = command.data
    fenced = _fence(state, data.task_id, data.attempt, data.instance, command.sender)
    if isinstance(fenced, Refusal):
        return fenced
    task, attempt = fenced
    if not attempt.open:
        return NOTHING if attempt.status == "failed" else _over(attempt)
    draft = Draft()
    if data.retry:
        after_attempt(draft, task, "failed", data.error, now)
    else:
        failed = TaskFailed(
            task_id=task.task_id,
            attempt=attempt.number,
            agent_id=attempt.agent_id,
            failed_at=now,
            error=data.error,
        )
        draft.add(failed, "failed")
    return draft.step()


def batch(state: State, command: Command, now: datetime, refused: list[ReportRefused]) -> Step:
    """Several reports of one agent, in their order. What is refused of them is noted while the step is followed."""
    step = Step()
    step.events = _in_order(state, command, now, step, refused)
    return step


def _in_order(
    state: State, command: Command, now: datetime, step: Step, refused: list[ReportRefused]
) -> Iterator[Event]:
    data: ReportBatch = command.data
    for index, report in enumerate(data.reports):
        answer = _DECIDERS[type(report)](state, msgspec.structs.replace(command, data=report), now)
        if isinstance(answer, Refusal):
            refused.append(ReportRefused(index, answer.error, answer.status))
            step.refused.append((answer, codec.encode(report)))
        else:
            yield from answer.events
            step.records += answer.records


_DECIDERS: Final[Mapping[type, Callable[[State, Command, datetime], Step | Refusal]]] = {
    StartReport: start,
    ProgressReport: progress,
    CompleteReport: complete,
    FailReport: fail,
}


def _fence(state: State, task_id: str, number: int, instance: str, sender: str) -> tuple[Task, Attempt] | Refusal:
    """The task and the attempt that a report is about, if they are the sender's."""
    task = state.tasks.get(task_id)
    if task is None:
        return _forged(f"there is no task {task_id!r}", 404)
    if number > len(task.attempts):
        return _forged(f"task {task_id} has no attempt {number} yet, but {len(task.attempts)}", 409)
    attempt = task.attempts[number - 1]
    if attempt.agent_id != sender:
        return _forged(f"attempt {number} of task {task_id} is not {sender}'s", 403)
    if attempt.instance != instance:
        return _forged(f"attempt {number} of task {task_id} belongs to another instance of {sender}", 409)
    return task, attempt


def _forged(error: str, status: int) -> Refusal:
    """A report that is not about what its sender was given, or is no longer: it changes nothing, and it is kept."""
    return Refusal(error, status, kept=Kept.REPORT)


def _started(task: Task, attempt: Attempt, now: datetime) -> TaskStarted:
    return TaskStarted(task_id=task.task_id, attempt=attempt.number, agent_id=attempt.agent_id, started_at=now)


def _over(attempt: Attempt) -> Refusal:
    return _forged(f"attempt {attempt.number} is over: it {_ENDS[attempt.status]}; stop working on it", 409)


_ENDS: Final[dict[AttemptStatus, str]] = {
    "completed": "completed",
    "failed": "failed",
    "timed_out": "timed out",
    "lost": "was taken back because the agent was lost",
    "cancelled": "was cancelled",
}
