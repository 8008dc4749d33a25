"""The transitions of tasks, attempts, phases, initiatives and replays: a table each. An event without an entry is refused
and changes nothing.

The keys are a status (None: not there yet) and an event's type; the value is the status that follows. Code that decides
asks these tables, code that evolves obeys them, and the diagrams in the docs are drawn from them.
"""

from collections.abc import Mapping
from typing import Final, TypeVar

from hivewire.views import AttemptStatus, InitiativeStatus, PhaseStatus, ReplayStatus, TaskStatus

S = TypeVar("S", bound=str)

TaskTable = Mapping[TaskStatus | None, Mapping[str, TaskStatus]]
AttemptTable = Mapping[AttemptStatus | None, Mapping[str, AttemptStatus]]
PhaseTable = Mapping[PhaseStatus | None, Mapping[str, PhaseStatus]]
InitiativeTable = Mapping[InitiativeStatus | None, Mapping[str, InitiativeStatus]]
ReplayTable = Mapping[ReplayStatus | None, Mapping[str, ReplayStatus]]

_TASK_HELD: Final[dict[str, TaskStatus]] = {
    "task.progress": "running",
    "task.pending_approval": "pending_approval",
    "task.completed": "completed",
    "task.failed": "failed",
    "task.retry": "pending",
    "task.dead_lettered": "dead_lettered",
    "task.cancelled": "cancelled",
}
_TASK_ENDED_BADLY: Final[dict[str, TaskStatus]] = {"task.reopened": "pending"}

TASK: Final[TaskTable] = {
    None: {"task.created": "pending"},
    "pending": {
        "task.queued": "pending",
        "task.unmatched": "pending",
        "task.waking": "pending",
        "task.wake_ended": "pending",
        "task.assigned": "assigned",
        "task.blocked": "blocked",
        "task.updated": "pending",
        "task.completed": "completed",
        "task.dead_lettered": "dead_lettered",
        "task.cancelled": "cancelled",
    },
    "assigned": {
        **_TASK_HELD,
        "task.started": "running",
        "task.updated": "assigned",
        # These end the attempt; what becomes of the task follows at once.
        "task.timeout": "assigned",
        "task.reassigned": "assigned",
    },
    "running": {
        **_TASK_HELD,
        "task.updated": "running",
        "task.timeout": "running",
        "task.reassigned": "running",
    },
    "pending_approval": {
        "task.updated": "pending_approval",
        # What was decided; what becomes of the task follows at once.
        "task.approved": "pending_approval",
        "task.rejected": "pending_approval",
        "task.completed": "completed",
        "task.queued": "pending",
        "task.failed": "failed",
        "task.cancelled": "cancelled",
    },
    "blocked": {
        "task.updated": "blocked",
        "task.queued": "blocked",
        "task.blocked": "blocked",
        "task.unblocked": "pending",
        "task.dead_lettered": "dead_lettered",
        "task.cancelled": "cancelled",
    },
    "completed": {},
    "failed": _TASK_ENDED_BADLY,
    "dead_lettered": _TASK_ENDED_BADLY,
    "cancelled": _TASK_ENDED_BADLY,
}

_ATTEMPT_OPEN: Final[dict[str, AttemptStatus]] = {
    "task.progress": "running",
    "task.pending_approval": "completed",
    "task.completed": "completed",
    "task.failed": "failed",
    "task.retry": "failed",
    "task.dead_lettered": "failed",
    "task.timeout": "timed_out",
    "task.reassigned": "lost",
    "task.cancelled": "cancelled",
}

ATTEMPT: Final[AttemptTable] = {
    None: {"task.assigned": "assigned"},
    "assigned": {**_ATTEMPT_OPEN, "task.started": "running"},
    "running": _ATTEMPT_OPEN,
    "timed_out": {"task.retry": "timed_out", "task.dead_lettered": "timed_out"},
    "lost": {"task.retry": "lost", "task.dead_lettered": "lost"},
    # The work is done; whether the task is, may be for others to say.
    "completed": {"task.completed": "completed", "task.failed": "completed"},
    "failed": {},
    "cancelled": {},
}

PHASE: Final[PhaseTable] = {
    None: {"phase.created": "pending"},
    "pending": {
        "phase.updated": "pending",
        "phase.approved": "pending",
        "phase.queued": "pending",
        "phase.started": "running",
        "phase.blocked": "blocked",
    },
    "running": {"phase.completed": "completed", "phase.blocked": "blocked"},
    "blocked": {
        "phase.updated": "blocked",
        "phase.blocked": "blocked",
        "phase.unblocked": "pending",
        "phase.resumed": "running",
        "phase.completed": "completed",
    },
    "completed": {},
}

INITIATIVE: Final[InitiativeTable] = {
    None: {"initiative.created": "active"},
    "active": {"initiative.completed": "completed"},
    "completed": {},
}

REPLAY: Final[ReplayTable] = {
    None: {"replay.started": "running"},
    "running": {"replay.progressed": "running", "replay.completed": "completed", "replay.stopped": "stopped"},
    "completed": {},
    "stopped": {},
}

OPEN: Final[frozenset[str]] = frozenset({"assigned", "running"})
"""The statuses of an attempt that an agent works on, and of a task that has such an attempt."""


class IllegalTransition(Exception):
    """An event does not fit the status that it found. No service writes such an event."""


def _next(table: Mapping[S | None, Mapping[str, S]], status: S | None, event_type: str, what: str) -> S:
    try:
        return table[status][event_type]
    except KeyError:
        raise IllegalTransition(f"{event_type} cannot happen to {what} that is {status or 'not there'}") from None


def next_task_status(status: TaskStatus | None, event_type: str) -> TaskStatus:
    """The status of a task after an event.

    Raises:
        IllegalTransition: the event cannot happen to a task in this status.
    """
    return _next(TASK, status, event_type, "a task")


def next_attempt_status(status: AttemptStatus | None, event_type: str) -> AttemptStatus:
    """The status of an attempt after an event.

    Raises:
        IllegalTransition: the event cannot happen to an attempt in this status.
    """
    return _next(ATTEMPT, status, event_type, "an attempt")


def next_phase_status(status: PhaseStatus | None, event_type: str) -> PhaseStatus:
    """The status of a phase after an event.

    Raises:
        IllegalTransition: the event cannot happen to a phase in this status.
    """
    return _next(PHASE, status, event_type, "a phase")


def next_initiative_status(status: InitiativeStatus | None, event_type: str) -> InitiativeStatus:
    """The status of an initiative after an event.

    Raises:
        IllegalTransition: the event cannot happen to an initiative in this status.
    """
    return _next(INITIATIVE, status, event_type, "an initiative")


def next_replay_status(status: ReplayStatus | None, event_type: str) -> ReplayStatus:
    """The status of a replay after an event.

    Raises:
        IllegalTransition: the event cannot happen to a replay in this status.
    """
    return _next(REPLAY, status, event_type, "a replay")
