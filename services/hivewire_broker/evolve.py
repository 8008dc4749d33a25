"""What each event does to the state. Every change of a stored field is here and nowhere else."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from hivewire.events import task as events
from hivewire.events.base import Event
from hivewire.events.initiative import InitiativeEvent
from hivewire.events.kept import AgentRemembered, TaskRemoved
from hivewire.events.phase import PhaseEvent
from hivewire.events.replay import ReplayEvent
from hivewire_broker import phase_evolve, replays
from hivewire_broker.moments import microseconds, span_us
from hivewire_broker.state import History, State
from hivewire_broker.states import IllegalTransition, next_attempt_status, next_task_status
from hivewire_broker.task import Attempt, Task

PLANNING: Final = frozenset({"research", "discuss", "plan", "detail", "refine"})
CHECKPOINT: Final = "checkpoint:"
FILES_KIN_MAX: Final = 8
"""Of the files that a task names, so many make it kin of others."""
_LABEL: Final = "label "


def evolve(state: State, event: Event) -> None:
    """Change the state by an event.

    Raises:
        IllegalTransition: the event does not fit the state, which is left as it was.
    """
    if isinstance(event, events.TaskCreated):
        _created(state, event)
        return
    if isinstance(event, (PhaseEvent, InitiativeEvent)):
        phase_evolve.evolve(state, event)
        return
    if isinstance(event, (TaskRemoved, AgentRemembered)):
        _kept(state, event)
        return
    if isinstance(event, ReplayEvent):
        replays.evolve(state.replays, event)
        return
    task = state.tasks.get(event.entity_id)
    if task is None:
        raise IllegalTransition(f"{event.type} cannot happen to the unknown task {event.entity_id}")
    status = next_task_status(task.status, event.type)
    _HANDLERS[type(event)](state, task, event)
    if (task.status == "pending") is not (status == "pending"):
        state.count_demand(task, 1 if status == "pending" else -1)
    task.status = status
    if task.waits_for is not None and status != "pending":
        state.stop_waiting(task)
        task.waits_for = None
    if task.ended:
        state.end(task)
    else:
        state.settle(task)


def _kept(state: State, event: TaskRemoved | AgentRemembered) -> None:
    if isinstance(event, AgentRemembered):
        state.history[event.agent_id] = History(*(getattr(event, name) for name in History.__struct_fields__))
        return
    task = state.tasks.get(event.task_id)
    if task is not None and not task.ended:
        raise IllegalTransition(f"{event.type} cannot happen to a task that is {task.status}")
    state.remove(event.task_id)


def kinship(
    labels: Mapping[str, str],
    *,
    parent_task_id: str | None = None,
    phase_id: str | None = None,
    initiative_id: str | None = None,
    files: Sequence[str] = (),
) -> tuple[str, ...]:
    """What a task has in common with others, as keys."""
    named = (("parent", parent_task_id), ("phase", phase_id), ("initiative", initiative_id))
    return (
        *(f"{what} {name}" for what, name in named if name is not None),
        *(f"file {name}" for name in files[:FILES_KIN_MAX]),
        *(f"{_LABEL}{name}={value}" for name, value in labels.items()),
    )


def relabelled(kin: tuple[str, ...], labels: Mapping[str, str]) -> tuple[str, ...]:
    """The same with other labels."""
    return (*(key for key in kin if not key.startswith(_LABEL)), *kinship(labels))


def is_by_name_only(task_type: str, category: str) -> bool:
    """Whether a task is dispatched only when somebody names it."""
    return task_type.startswith(CHECKPOINT) or category in PLANNING


def _created(state: State, event: events.TaskCreated) -> None:
    known = state.tasks.get(event.task_id)
    status = next_task_status(known.status if known else None, event.type)
    initiative = state.initiative_of(event.phase_id)
    state.add(
        Task(
            task_id=event.task_id,
            content_hash=event.content_hash,
            ordinal=state.last_ordinal + 1,
            requirements=state.requirements(event.owner, event.required_capabilities),
            created_us=microseconds(event.created_at),
            priority=event.priority,
            timeout_s=event.timeout_seconds,
            start_timeout_s=event.start_timeout_seconds,
            max_retries=event.max_retries,
            backoff=state.backoff(event.backoff),
            on_dependency_failure=event.on_dependency_failure,
            by_name_only=is_by_name_only(event.task_type, event.category),
            depends_on=tuple(event.depends_on),
            kinship=kinship(
                event.labels,
                parent_task_id=event.parent_task_id,
                phase_id=event.phase_id,
                initiative_id=initiative.initiative_id if initiative else None,
                files=event.files,
            ),
            phase_id=event.phase_id,
            planning=event.category in PLANNING,
            requires_approval=event.requires_approval,
            risk=event.risk,
            complexity=event.complexity,
            verifiability=event.verifiability,
            reversibility=event.reversibility,
            concurrency_key=event.concurrency_key,
            max_concurrent=event.max_concurrent or 1,
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
        oversight=event.oversight,
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


def _waking(state: State, task: Task, event: events.TaskWaking) -> None:
    task.waits_for = event.agent_id
    task.waits_until = event.until
    state.wait_for(task, event.agent_id)


def _wake_ended(state: State, task: Task, event: events.TaskWakeEnded) -> None:
    state.stop_waiting(task)
    if not event.awake:
        task.waits_for = None


def _started(_state: State, task: Task, event: events.TaskStarted) -> None:
    attempt = task.attempts[-1]
    attempt.status = next_attempt_status(attempt.status, event.type)
    attempt.started_at = event.started_at


def _progress(_state: State, task: Task, event: events.TaskProgress) -> None:
    attempt = task.attempts[-1]
    attempt.status = next_attempt_status(attempt.status, event.type)
    task.progress = event.progress
    task.progress_message = event.message


def _pending_approval(state: State, task: Task, event: events.TaskPendingApproval) -> None:
    _end_attempt(state, task, event, event.finished_at).cost = event.cost
    state.results[task.task_id] = event.result
    task.error = None


def _approved(_state: State, _task: Task, _event: events.TaskApproved) -> None:
    """What was decided is carried out by the event that follows."""


def _rejected(state: State, task: Task, event: events.TaskRejected) -> None:
    state.results.pop(task.task_id, None)
    task.feedback = event.reason


def _completed(state: State, task: Task, event: events.TaskCompleted) -> None:
    if event.attempt:
        attempt = _end_attempt(state, task, event, event.completed_at)
        attempt.cost = event.cost
        history = _history(state, attempt.agent_id)
        history.completed += 1
        history.run_us += span_us(attempt.started_at or attempt.assigned_at, attempt.ended_at or event.completed_at)
        if event.cost is not None:
            history.cost += event.cost
            history.costed += 1
        state.changed_agents.add(attempt.agent_id)
        state.remember_kin(task, attempt.agent_id)
    state.results.pop(task.task_id, None)
    task.error = None
    task.reason = None
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


def _blocked(state: State, task: Task, event: events.TaskBlocked) -> None:
    task.reason = event.reason
    task.blocked_by = event.blocked_by
    state.bring_back(task)


def _unblocked(_state: State, task: Task, _event: events.TaskUnblocked) -> None:
    task.reason = None
    task.blocked_by = None


def _updated(state: State, task: Task, event: events.TaskUpdated) -> None:
    if event.labels is not None:
        task.kinship = relabelled(task.kinship, event.labels)
    if event.timeout_seconds is not None:
        task.timeout_s = event.timeout_seconds
    if event.depends_on is not None:
        state.forget_dependencies(task)
        task.depends_on = tuple(event.depends_on)
        state.watch_dependencies(task)
    if event.priority is not None:
        task.priority = event.priority
        state.queue.move(task)


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
    events.TaskWaking: _waking,
    events.TaskWakeEnded: _wake_ended,
    events.TaskStarted: _started,
    events.TaskProgress: _progress,
    events.TaskPendingApproval: _pending_approval,
    events.TaskApproved: _approved,
    events.TaskRejected: _rejected,
    events.TaskCompleted: _completed,
    events.TaskFailed: _failed,
    events.TaskTimeout: _timeout,
    events.TaskReassigned: _reassigned,
    events.TaskRetry: _retry,
    events.TaskDeadLettered: _dead_lettered,
    events.TaskBlocked: _blocked,
    events.TaskUnblocked: _unblocked,
    events.TaskUpdated: _updated,
    events.TaskCancelled: _cancelled,
    events.TaskReopened: _reopened,
}
