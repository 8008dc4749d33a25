"""What each event does to the state. Every change of a stored field is here and nowhere else."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from hivewire.events import task as events
from hivewire.events.base import Event
from hivewire_broker.moments import microseconds, span_us
from hivewire_broker.state import History, State
from hivewire_broker.states import IllegalTransition, next_attempt_status, next_task_status
from hivewire_broker.task import Attempt, Task

PLANNING: Final = frozenset({"research", "discuss", "plan", "detail", "refine"})
CHECKPOINT: Final = "checkpoint:"


def evolve(state: State, event: Event) -> None:
    """Change the state by an event.

    Raises:
        IllegalTransition: the event does not fit the state, which is left as it was.
    """
    if isinstance(event, events.TaskCreated):
        _created(state, event)
        return
    task = state.tasks.get(event.entity_id)
    if task is None:
        raise IllegalTransition(f"{event.type} cannot happen to the unknown task {event.entity_id}")
    status = next_task_status(task.status, event.type)
    _HANDLERS[type(event)](state, task, event)
    task.status = status
    if task.ended:
        state.end(task)
    else:
        state.settle(task)


def kinship(parent_task_id: str | None, labels: Mapping[str, str]) -> tuple[str, ...]:
    """What a task has in common with others, as keys."""
    if parent_task_id is None and not labels:
        return ()
    parent = () if parent_task_id is None else (f"parent {parent_task_id}",)
    return (*parent, *(f"label {name}={value}" for name, value in labels.items()))


def is_by_name_only(task_type: str, category: str) -> bool:
    """Whether a task is dispatched only when somebody names it."""
    return task_type.startswith(CHECKPOINT) or category in PLANNING


def _created(state: State, event: events.TaskCreated) -> None:
    known = state.tasks.get(event.task_id)
    status = next_task_status(known.status if known else None, event.type)
    state.add(
        Task(
            task_id=event.task_id,
            content_hash=event.content_hash,
            ordinal=state.last_ordinal + 1,
            requirements=state.requirements(event.owner, event.required_capabilities),
            priority=event.priority,
            timeout_s=event.timeout_seconds,
            start_timeout_s=event.start_timeout_seconds,
            max_retries=event.max_retries,
            backoff=state.backoff(event.backoff),
            on_dependency_failure=event.on_dependency_failure,
            by_name_only=is_by_name_only(event.task_type, event.category),
            depends_on=tuple(event.depends_on),
            kinship=kinship(event.parent_task_id, event.labels),
            risk=event.risk,
            complexity=event.complexity,
            not_before=event.not_before,
            deadline=event.deadline,
            status=status,
        )
    )


def _queued(_state: State, task: Task, _event: events.TaskQueued) -> None:
    task.queued = True


def _unmatched(_state: State, task: Task, event: events.TaskUnmatched) -> None:
    task.unmatched = True
    task.reason = event.reason


def _assigned(state: State, task: Task, event: events.TaskAssigned) -> None:
    attempt = Attempt(
        number=event.attempt,
        agent_id=event.agent_id,
        instance=event.instance,
        assigned_at=event.assigned_at,
        status=next_attempt_status(None, event.type),
        sent_at=event.assigned_at,
    )
    task.attempts = (*task.attempts, attempt)
    task.unmatched = False
    task.retry_at = None
    task.reason = None
    task.progress = None
    task.progress_message = None
    _history(state, event.agent_id).last_assigned_us = microseconds(event.assigned_at)
    state.hold(task)


def _started(_state: State, task: Task, event: events.TaskStarted) -> None:
    attempt = task.attempts[-1]
    attempt.status = next_attempt_status(attempt.status, event.type)
    attempt.started_at = event.started_at


def _progress(_state: State, task: Task, event: events.TaskProgress) -> None:
    attempt = task.attempts[-1]
    attempt.status = next_attempt_status(attempt.status, event.type)
    task.progress = event.progress
    task.progress_message = event.message


def _completed(state: State, task: Task, event: events.TaskCompleted) -> None:
    attempt = _end_attempt(state, task, event, event.completed_at)
    history = _history(state, attempt.agent_id)
    history.completed += 1
    history.run_us += span_us(attempt.started_at or attempt.assigned_at, event.completed_at)
    state.remember_kin(task, attempt.agent_id)
    task.error = None
    task.ended_at = event.completed_at


def _failed(state: State, task: Task, event: events.TaskFailed) -> None:
    _end_attempt(state, task, event, event.failed_at, event.error)
    task.error = event.error
    task.ended_at = event.failed_at


def _timeout(state: State, task: Task, event: events.TaskTimeout) -> None:
    _end_attempt(state, task, event, event.ended_at, f"timed out: {event.kind}")


def _reassigned(state: State, task: Task, event: events.TaskReassigned) -> None:
    _end_attempt(state, task, event, event.ended_at, event.reason)


def _retry(state: State, task: Task, event: events.TaskRetry) -> None:
    _end_attempt(state, task, event, event.ended_at, event.error)
    task.error = event.error
    task.retry_at = event.retry_at
    task.retries_used = event.retries_used
    task.lost_count = event.lost_count


def _dead_lettered(state: State, task: Task, event: events.TaskDeadLettered) -> None:
    if event.ended is not None:
        _end_attempt(state, task, event, event.dead_lettered_at, event.error)
        task.error = event.error
    task.lost_count += event.ended == "lost"
    task.reason = event.reason
    task.blocked_by = None
    task.ended_at = event.dead_lettered_at


def _blocked(_state: State, task: Task, event: events.TaskBlocked) -> None:
    task.reason = event.reason
    task.blocked_by = event.blocked_by


def _unblocked(_state: State, task: Task, _event: events.TaskUnblocked) -> None:
    task.reason = None
    task.blocked_by = None


def _cancelled(state: State, task: Task, event: events.TaskCancelled) -> None:
    if event.attempt:
        _end_attempt(state, task, event, event.cancelled_at, event.reason)
    task.reason = event.reason
    task.blocked_by = None
    task.ended_at = event.cancelled_at


def _reopened(state: State, task: Task, event: events.TaskReopened) -> None:
    task.retries_used = 0
    task.lost_count = 0
    task.retry_at = None
    task.reason = None
    task.ended_at = None
    if task.deadline is not None and task.deadline <= event.reopened_at:
        task.deadline = None
    state.reopen(task)


def _end_attempt(state: State, task: Task, event: Event, now: datetime, error: str | None = None) -> Attempt:
    """End the last attempt, unless an event before this one has ended it."""
    attempt = task.attempts[-1]
    was_open = attempt.open
    attempt.status = next_attempt_status(attempt.status, event.type)
    if was_open:
        attempt.ended_at = now
        attempt.error = error
        state.let_go(task)
        _history(state, attempt.agent_id).ended += attempt.status != "cancelled"
    return attempt


def _history(state: State, agent_id: str) -> History:
    return state.history.setdefault(agent_id, History())


_HANDLERS: Final[Mapping[type[Event], Callable[[State, Task, Any], None]]] = {
    events.TaskQueued: _queued,
    events.TaskUnmatched: _unmatched,
    events.TaskAssigned: _assigned,
    events.TaskStarted: _started,
    events.TaskProgress: _progress,
    events.TaskCompleted: _completed,
    events.TaskFailed: _failed,
    events.TaskTimeout: _timeout,
    events.TaskReassigned: _reassigned,
    events.TaskRetry: _retry,
    events.TaskDeadLettered: _dead_lettered,
    events.TaskBlocked: _blocked,
    events.TaskUnblocked: _unblocked,
    events.TaskCancelled: _cancelled,
    events.TaskReopened: _reopened,
}
