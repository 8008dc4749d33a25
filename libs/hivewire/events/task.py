"""Events of tasks, written by the broker.

`TaskCompleted`, `TaskFailed`, `TaskDeadLettered` and `TaskCancelled` are written once, when a task ends. An attempt that
will be followed by another writes `TaskTimeout` or `TaskReassigned`, if it ended that way, and then `TaskRetry`.
`TaskApproved` is followed by `TaskCompleted`, `TaskRejected` by `TaskQueued` or, where it is final, by `TaskFailed`.
"""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from hivewire import fields, limits
from hivewire.commands.broker import Backoff
from hivewire.events.base import Event

AttemptEnd = Literal["failed", "timed_out", "lost"]
TimeoutKind = Literal["start", "run", "deadline"]
Oversight = Literal["autonomous", "notify", "review", "approve", "supervise"]
"""How closely people should look at an attempt; the work of the last two needs their approval."""


class TaskEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of tasks."""

    key: ClassVar[str] = "task_id"

    task_id: str


class TaskCreated(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A task was accepted, with everything that its sender said and the defaults of the rest.

    `content_hash` tells a repeat of the same task from another task with the same id.
    """

    type: ClassVar[str] = "task.created"

    title: str
    sender: str
    owner: str
    content_hash: str
    created_at: datetime
    idempotency_key: str | None = None
    description: str = ""
    required_capabilities: list[str] = []
    priority: int = fields.PRIORITY_DEFAULT
    timeout_seconds: float = limits.TASK_TIMEOUT_S
    start_timeout_seconds: float = limits.START_TIMEOUT_S
    max_retries: int = limits.TASK_RETRIES
    backoff: Backoff = Backoff()
    source: str | None = None
    parent_task_id: str | None = None
    metadata: msgspec.Raw = fields.EMPTY_OBJECT
    labels: dict[str, str] = {}
    depends_on: list[str] = []
    on_dependency_failure: Literal["block", "cancel"] = "block"
    phase_id: str | None = None
    task_type: str = "auto"
    category: str = "execute"
    requires_approval: bool | None = None
    payload: msgspec.Raw = fields.NULL
    not_before: datetime | None = None
    deadline: datetime | None = None
    risk: float | None = None
    complexity: float | None = None
    verifiability: float | None = None
    reversibility: float | None = None
    files: list[str] = []
    concurrency_key: str | None = None
    max_concurrent: int | None = None
    correlationid: str | None = None
    traceparent: str | None = None


class TaskQueued(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The task may be dispatched once its dependencies are complete and it is due."""

    type: ClassVar[str] = "task.queued"

    priority: int
    depends_on: list[str] = []


class TaskAssigned(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An attempt was given to an agent. `reason` says in one line why this one; `score` is its weighted sum in [0, 1]."""

    type: ClassVar[str] = "task.assigned"

    attempt: int
    agent_id: str
    instance: str
    assigned_at: datetime
    score: float | None = None
    reason: str = ""
    oversight: Oversight = "autonomous"


class TaskWaking(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The best agent for the task is away and is told to start. The task waits for it, until `until` at the latest."""

    type: ClassVar[str] = "task.waking"

    agent_id: str
    until: datetime
    score: float | None = None
    reason: str = ""


class TaskWakeEnded(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The task waits for the agent no longer: it is awake, or it will not come and another is sought."""

    type: ClassVar[str] = "task.wake_ended"

    agent_id: str
    awake: bool
    reason: str = ""


class TaskStarted(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent's handler began to run."""

    type: ClassVar[str] = "task.started"

    attempt: int
    agent_id: str
    started_at: datetime


class TaskProgress(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent reported how far it is."""

    type: ClassVar[str] = "task.progress"

    attempt: int
    agent_id: str
    progress: float | None = None
    message: str = ""


class TaskPendingApproval(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The attempt did the work, and somebody has to approve it. `requested_by` says what asks for that."""

    type: ClassVar[str] = "task.pending_approval"

    attempt: int
    agent_id: str
    finished_at: datetime
    requested_by: Literal["task", "initiative", "oversight"] = "task"
    result: msgspec.Raw = fields.NULL
    cost: float | None = None


class TaskApproved(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The work was approved."""

    type: ClassVar[str] = "task.approved"

    by: str
    reason: str = ""


class TaskRejected(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The work was not approved. `reason` is the feedback for the agent of the next attempt."""

    type: ClassVar[str] = "task.rejected"

    by: str
    reason: str = ""
    final: bool = False


class TaskCompleted(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The task is done. `attempt` 0: `agent_id`, its owner or the operator, said so without an attempt."""

    type: ClassVar[str] = "task.completed"

    attempt: int
    agent_id: str
    completed_at: datetime
    success: bool = True
    message: str = ""
    result: msgspec.Raw = fields.NULL
    cost: float | None = None


class TaskFailed(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The task ended without success, and another attempt would not help."""

    type: ClassVar[str] = "task.failed"

    attempt: int
    agent_id: str
    failed_at: datetime
    error: str = ""


class TaskTimeout(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An attempt took too long: to start, to finish, or past the task's deadline."""

    type: ClassVar[str] = "task.timeout"

    attempt: int
    agent_id: str
    kind: TimeoutKind
    ended_at: datetime


class TaskReassigned(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An attempt was taken from an agent that is gone."""

    type: ClassVar[str] = "task.reassigned"

    attempt: int
    agent_id: str
    reason: str
    ended_at: datetime


class TaskRetry(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The task is pending again, from `retry_at` on. `attempt` is the one that ended, `ended` how.

    `retries_used` counts the attempts that spent the task's retries, `lost_count` those whose agent was lost.
    """

    type: ClassVar[str] = "task.retry"

    attempt: int
    agent_id: str
    ended: AttemptEnd
    error: str = ""
    retry_at: datetime
    ended_at: datetime
    retries_used: int
    lost_count: int = 0


class TaskDeadLettered(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The task ended because its attempts are used up, its agents were lost repeatedly, or its deadline passed.

    `attempt` 0 with no agent: no attempt was open when it ended.
    """

    type: ClassVar[str] = "task.dead_lettered"

    reason: str
    dead_lettered_at: datetime
    attempt: int = 0
    agent_id: str | None = None
    ended: AttemptEnd | None = None
    error: str = ""


class TaskUnmatched(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """No known agent could take the ready task. It stays pending and is tried again when one appears."""

    type: ClassVar[str] = "task.unmatched"

    reason: str


class TaskBlocked(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The task waits for a person, or for the task `blocked_by` that ended without success."""

    type: ClassVar[str] = "task.blocked"

    reason: str
    blocked_by: str | None = None


class TaskUnblocked(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The task is pending again."""

    type: ClassVar[str] = "task.unblocked"

    reason: str = ""


class TaskUpdated(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """What the task says of itself was changed. What is absent stayed."""

    type: ClassVar[str] = "task.updated"

    by: str
    metadata: msgspec.Raw = fields.ABSENT
    labels: dict[str, str] | None = None
    priority: int | None = None
    timeout_seconds: float | None = None
    depends_on: list[str] | None = None


class TaskCancelled(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The task was given up. `attempt` and `agent_id` name the attempt that was open, if any."""

    type: ClassVar[str] = "task.cancelled"

    cancelled_at: datetime
    by: str
    reason: str = ""
    attempt: int = 0
    agent_id: str | None = None


class TaskReopened(TaskEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A task that had ended without success is pending again, with its retries unspent."""

    type: ClassVar[str] = "task.reopened"

    by: str
    reason: str = ""
    reopened_at: datetime


EVENTS: tuple[type[Event], ...] = (
    TaskCreated,
    TaskQueued,
    TaskAssigned,
    TaskWaking,
    TaskWakeEnded,
    TaskStarted,
    TaskProgress,
    TaskPendingApproval,
    TaskApproved,
    TaskRejected,
    TaskCompleted,
    TaskFailed,
    TaskTimeout,
    TaskReassigned,
    TaskRetry,
    TaskDeadLettered,
    TaskUnmatched,
    TaskBlocked,
    TaskUnblocked,
    TaskUpdated,
    TaskCancelled,
    TaskReopened,
)
