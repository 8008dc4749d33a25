"""What can be asked of the broker."""

from typing import Annotated, Literal

import msgspec

from hivewire import fields, limits

Cost = Annotated[float, msgspec.Meta(ge=0.0, le=1e12)]


class Backoff(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a failed task waits before its next attempt: `base_s * factor ** (failures - 1)`, at most `max_s`,
    of which a random share up to `jitter` is taken off, so that tasks that failed together do not return together.
    """

    base_s: Annotated[float, msgspec.Meta(ge=0.0, le=limits.BACKOFF_S_MAX)] = 1.0
    factor: Annotated[float, msgspec.Meta(ge=1.0, le=100.0)] = 2.0
    max_s: Annotated[float, msgspec.Meta(ge=0.0, le=limits.BACKOFF_S_MAX)] = 60.0
    jitter: fields.Fraction = 0.2


class Submit(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A task. Only `title` is needed.

    The task's id is `id`; without one it follows from `idempotency_key` and the sender; without either it is the
    command's id. `payload` and `metadata` are opaque JSON: what was sent is read back equal.
    """

    title: fields.Title
    id: fields.Token | None = None
    idempotency_key: fields.Name | None = None
    description: fields.Text = ""
    owner: fields.Name | None = None
    required_capabilities: fields.Capabilities = []
    priority: fields.Priority | Literal["high", "medium", "low"] = fields.PRIORITY_DEFAULT
    timeout_seconds: fields.TimeoutS = limits.TASK_TIMEOUT_S
    start_timeout_seconds: fields.TimeoutS = limits.START_TIMEOUT_S
    max_retries: fields.Retries = limits.TASK_RETRIES
    backoff: Backoff = Backoff()
    source: fields.Name | None = None
    parent_task_id: fields.Token | None = None
    metadata: msgspec.Raw = fields.EMPTY_OBJECT
    labels: fields.Labels = {}
    depends_on: fields.Dependencies = []
    on_dependency_failure: Literal["block", "cancel"] = "block"
    phase_id: fields.Token | None = None
    type: fields.Name = "auto"
    category: fields.Name = "execute"
    requires_approval: bool | None = None
    payload: msgspec.Raw = fields.NULL
    not_before: fields.Moment | None = None
    deadline: fields.Moment | None = None
    risk: fields.Fraction | None = None
    complexity: fields.Fraction | None = None
    verifiability: fields.Fraction | None = None
    reversibility: fields.Fraction | None = None
    files: Annotated[list[fields.Text], msgspec.Meta(max_length=limits.DEPENDENCIES_MAX)] = []
    concurrency_key: fields.Name | None = None
    max_concurrent: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None


class SubmitBatch(msgspec.Struct):
    """Up to 1,000 tasks in one command. Each is taken or refused by itself, in any order: `depends_on` may name
    another task of the batch by its id or by its `idempotency_key`."""

    tasks: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=limits.BATCH_ITEMS_MAX)]


class Start(msgspec.Struct):
    """The agent's handler began to run."""

    task_id: fields.Token
    attempt: fields.Attempt
    instance: fields.Token


class Progress(msgspec.Struct):
    """How far an attempt is, as a fraction of 1, with a note for people."""

    task_id: fields.Token
    attempt: fields.Attempt
    instance: fields.Token
    progress: fields.Fraction | None = None
    message: fields.Text = ""


class Complete(msgspec.Struct, omit_defaults=True):
    """The attempt did the work. `cost` is what it took, in whatever unit the fleet agrees on.

    Without `attempt` and `instance` it is the task's owner, or the operator, who says that a pending task is done.
    """

    task_id: fields.Token
    attempt: fields.Attempt | None = None
    instance: fields.Token | None = None
    result: msgspec.Raw = fields.NULL
    cost: Cost | None = None


class Fail(msgspec.Struct):
    """The attempt did not do the work. `retry` false: another attempt would fail the same way."""

    task_id: fields.Token
    attempt: fields.Attempt
    instance: fields.Token
    error: fields.ErrorText = ""
    retry: bool = True


class StartReport(Start, tag_field="verb", tag="start"):
    """A `start` among others."""


class ProgressReport(Progress, tag_field="verb", tag="progress"):
    """A `progress` among others."""


class CompleteReport(Complete, tag_field="verb", tag="complete"):
    """A `complete` among others."""


class FailReport(Fail, tag_field="verb", tag="fail"):
    """A `fail` among others."""


Report = StartReport | ProgressReport | CompleteReport | FailReport


class ReportBatch(msgspec.Struct):
    """What an agent has to say of its attempts, in this order. Each report is taken or refused by itself."""

    reports: Annotated[list[Report], msgspec.Meta(min_length=1, max_length=limits.REPORTS_MAX)]


class Cancel(msgspec.Struct):
    """End a task that has not ended; an agent that works on it is told to stop."""

    task_id: fields.Token
    reason: fields.Text = ""


class Retry(msgspec.Struct):
    """Open a task that ended failed, dead_lettered or cancelled again, with a new attempt and a fresh retry budget."""

    task_id: fields.Token
    reason: fields.Text = ""


class Replay(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Retry the dead letters that ended until now, all of them or those that fit: of an owner, of a phase, with `error` as a
    part of their error. The broker retries at most `rate` a second, the oldest first, until none is left."""

    id: fields.Token | None = None
    owner: fields.Name | None = None
    phase: fields.Token | None = None
    error: fields.Name | None = None
    rate: Annotated[float, msgspec.Meta(gt=0.0, le=limits.REPLAY_RATE_MAX)] = limits.REPLAY_RATE
    reason: fields.Text = ""


class StopReplay(msgspec.Struct):
    """Let a replay open no more dead letters."""

    replay_id: fields.Token


class Approve(msgspec.Struct):
    """Accept the work of a task that is pending approval: it is completed."""

    task_id: fields.Token
    reason: fields.Text = ""


class Reject(msgspec.Struct):
    """Refuse the work of a task that is pending approval. It is done again, with `reason` as feedback for the agent and
    without spending a retry; `final`: it failed."""

    task_id: fields.Token
    reason: fields.Text = ""
    final: bool = False


class Block(msgspec.Struct):
    """Keep a pending task from being dispatched until it is unblocked."""

    task_id: fields.Token
    reason: fields.Text = ""


class Unblock(msgspec.Struct):
    """Let a blocked task go on."""

    task_id: fields.Token
    reason: fields.Text = ""


class Queue(msgspec.Struct):
    """Let a task be dispatched although its phase has not started."""

    task_id: fields.Token


class Dispatch(msgspec.Struct):
    """Give a pending task to an agent now: to `agent_id`, else to the best. It need not be due, nor of a type that is
    dispatched by itself; its dependencies must be complete and the agent must be able and free."""

    task_id: fields.Token
    agent_id: fields.Token | None = None


class DispatchNext(msgspec.Struct):
    """Give the first ready task that an agent, or `agent_id`, could take to it."""

    agent_id: fields.Token | None = None


class Update(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Change a task that has not ended. What is not given stays; `metadata`, `labels` and `depends_on` are replaced as a
    whole, the last of them only while the task is with no agent."""

    task_id: fields.Token
    metadata: msgspec.Raw = fields.ABSENT
    labels: fields.Labels | None = None
    priority: fields.Priority | Literal["high", "medium", "low"] | None = None
    timeout_seconds: fields.TimeoutS | None = None
    depends_on: fields.Dependencies | None = None


class CreateInitiative(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A piece of work made of phases. `requires_approval` holds for its tasks that do not say otherwise.

    Without an `id` it is the command's id.
    """

    title: fields.Title
    id: fields.Token | None = None
    description: fields.Text = ""
    requires_approval: bool = False
    metadata: msgspec.Raw = fields.EMPTY_OBJECT


class OfInitiative(msgspec.Struct):
    """Names an initiative. To approve, queue, block or unblock it is to do so with each of its phases that it fits."""

    initiative_id: fields.Token
    reason: fields.Text = ""


class CreatePhase(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A set of tasks that starts as a whole. Without an `id` it is the command's id."""

    title: fields.Title
    id: fields.Token | None = None
    initiative_id: fields.Token | None = None
    description: fields.Text = ""
    depends_on: fields.Dependencies = []
    metadata: msgspec.Raw = fields.EMPTY_OBJECT


class OfPhase(msgspec.Struct):
    """Names a phase."""

    phase_id: fields.Token
    reason: fields.Text = ""


class UpdatePhase(msgspec.Struct):
    """Change what a phase that has not started depends on."""

    phase_id: fields.Token
    depends_on: fields.Dependencies


class DispatchNextPhase(msgspec.Struct, omit_defaults=True):
    """Start the first phase, of an initiative or of all, that is approved and whose dependencies are complete."""

    initiative_id: fields.Token | None = None


VERBS: dict[str, type[msgspec.Struct]] = {
    "submit": Submit,
    "submit_batch": SubmitBatch,
    "start": Start,
    "progress": Progress,
    "complete": Complete,
    "fail": Fail,
    "report_batch": ReportBatch,
    "cancel": Cancel,
    "retry": Retry,
    "replay": Replay,
    "stop_replay": StopReplay,
    "approve": Approve,
    "reject": Reject,
    "block": Block,
    "unblock": Unblock,
    "queue": Queue,
    "dispatch": Dispatch,
    "dispatch_next": DispatchNext,
    "update": Update,
    "create_initiative": CreateInitiative,
    "approve_initiative": OfInitiative,
    "queue_initiative": OfInitiative,
    "block_initiative": OfInitiative,
    "unblock_initiative": OfInitiative,
    "complete_initiative": OfInitiative,
    "create_phase": CreatePhase,
    "update_phase": UpdatePhase,
    "approve_phase": OfPhase,
    "queue_phase": OfPhase,
    "block_phase": OfPhase,
    "unblock_phase": OfPhase,
    "complete_phase": OfPhase,
    "dispatch_phase": OfPhase,
    "dispatch_next_phase": DispatchNextPhase,
}
