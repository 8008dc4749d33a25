"""What reads and replies return: the same bodies over NATS, over HTTP and in the command line's `--json`."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from hivewire import fields
from hivewire.commands.broker import Backoff
from hivewire.graph import Edge, Node

TaskStatus = Literal[
    "pending", "assigned", "running", "pending_approval", "blocked", "completed", "failed", "dead_lettered", "cancelled"
]
AttemptStatus = Literal["assigned", "running", "completed", "failed", "timed_out", "lost", "cancelled"]
PhaseStatus = Literal["pending", "running", "blocked", "completed"]
ReplayStatus = Literal["running", "completed", "stopped"]
InitiativeStatus = Literal["active", "completed"]
ConversationState = Literal["asked", "delivered", "answered", "expired", "withdrawn", "undeliverable"]
MessageState = Literal["sent", "delivered", "undeliverable"]
TERMINAL: frozenset[str] = frozenset({"completed", "failed", "dead_lettered", "cancelled"})
DEAD: frozenset[str] = frozenset({"failed", "dead_lettered"})


class TaskBrief(msgspec.Struct, omit_defaults=True):
    """The reply to a command about a task: how it stands after the commit. `created` false: it was known before."""

    task_id: str
    status: TaskStatus
    attempt: int = 0
    agent_id: str | None = None
    created: bool | None = None


class PhaseBrief(msgspec.Struct, omit_defaults=True):
    """The reply to a command about a phase: how it stands after the commit. `created` false: it was known before."""

    phase_id: str
    status: PhaseStatus
    approved: bool = False
    queued: bool = False
    created: bool | None = None


class InitiativeBrief(msgspec.Struct, omit_defaults=True):
    """The reply to a command about an initiative, with its phases."""

    initiative_id: str
    status: InitiativeStatus
    phases: list[PhaseBrief] = []
    created: bool | None = None


class ReplayBrief(msgspec.Struct):
    """The reply to a command about a replay: how it stands after the commit."""

    replay_id: str
    status: ReplayStatus
    replayed: int = 0
    refused: int = 0


class ReplayView(msgspec.Struct, kw_only=True):
    """A replay of dead letters. `remaining` counts what it has not tried yet, where one replay is shown."""

    replay_id: str
    by: str
    status: ReplayStatus
    rate: float
    owner: str | None = None
    phase: str | None = None
    error: str | None = None
    reason: str = ""
    replayed: int = 0
    refused: int = 0
    remaining: int = 0
    started_at: datetime
    ended_at: datetime | None = None


class BatchItem(msgspec.Struct, omit_defaults=True):
    """What became of one task of a batch. `index` is its place in the batch, from 0; `error_status` is that of the same
    refusal to a single task."""

    index: int
    task_id: str | None = None
    status: TaskStatus | None = None
    created: bool | None = None
    error: str | None = None
    error_status: int | None = None


class Batch(msgspec.Struct):
    """The reply to a batch submit, one item for each task in their order."""

    items: list[BatchItem]


class ReportRefused(msgspec.Struct, omit_defaults=True):
    """A report of a batch that was not taken. `index` is its place in the batch, from 0; `status` is that of the same
    refusal to a single report."""

    index: int
    error: str
    status: int


class ReportsTaken(msgspec.Struct, omit_defaults=True):
    """The reply to a batch of reports: all but these were taken."""

    refused: list[ReportRefused] = []


class TaskView(msgspec.Struct, kw_only=True):
    """A task as it is stored. `attempt` counts its attempts so far; `error` is the last one's."""

    task_id: str
    title: str
    status: TaskStatus
    sender: str
    owner: str
    priority: int
    attempt: int
    retries_used: int
    lost_count: int
    max_retries: int
    created_at: datetime
    updated_at: datetime
    description: str = ""
    agent_id: str | None = None
    required_capabilities: list[str] = []
    depends_on: list[str] = []
    on_dependency_failure: str = "block"
    timeout_seconds: float
    start_timeout_seconds: float
    backoff: Backoff = Backoff()
    idempotency_key: str | None = None
    source: str | None = None
    parent_task_id: str | None = None
    phase_id: str | None = None
    type: str = "auto"
    category: str = "execute"
    labels: dict[str, str] = {}
    metadata: msgspec.Raw = fields.EMPTY_OBJECT
    payload: msgspec.Raw = fields.NULL
    result: msgspec.Raw = fields.NULL
    error: str | None = None
    reason: str | None = None
    blocked_by: str | None = None
    progress: float | None = None
    progress_message: str | None = None
    not_before: datetime | None = None
    retry_at: datetime | None = None
    waits_for: str | None = None
    """The agent that was woken for it."""
    waits_until: datetime | None = None
    """As long as it waits for that agent: until then at most."""
    deadline: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    files: list[str] = []
    requires_approval: bool | None = None
    feedback: str | None = None
    """What was wrong with the work that was rejected last."""
    risk: float | None = None
    complexity: float | None = None
    verifiability: float | None = None
    reversibility: float | None = None
    concurrency_key: str | None = None
    max_concurrent: int | None = None
    correlationid: str | None = None
    """What it is part of: of the command that submitted it."""
    attempts: list["AttemptView"] = []


class AttemptView(msgspec.Struct, kw_only=True):
    """One attempt of a task."""

    task_id: str
    attempt: int
    agent_id: str
    instance: str
    status: AttemptStatus
    assigned_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: str | None = None
    score: float | None = None
    reason: str | None = None
    oversight: str = "autonomous"
    cost: float | None = None


class PhaseView(msgspec.Struct, kw_only=True):
    """A phase. `approved` and `queued` say how far it is while it is pending; `tasks` counts its tasks by status."""

    phase_id: str
    title: str
    status: PhaseStatus
    approved: bool
    queued: bool
    initiative_id: str | None = None
    depends_on: list[str] = []
    reason: str | None = None
    blocked_by: str | None = None
    sender: str
    description: str = ""
    metadata: msgspec.Raw = fields.EMPTY_OBJECT
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    tasks: dict[str, int] = {}


class PhaseQueueView(msgspec.Struct):
    """The phases that are queued and wait for others, those that could start, and the blocked ones."""

    queued: list[PhaseView]
    ready: list[PhaseView]
    blocked: list[PhaseView]


class InitiativeView(msgspec.Struct, kw_only=True):
    """An initiative; where one is shown, with its phases, which form a graph by what they depend on."""

    initiative_id: str
    title: str
    status: InitiativeStatus
    requires_approval: bool
    sender: str
    description: str = ""
    metadata: msgspec.Raw = fields.EMPTY_OBJECT
    created_at: datetime
    ended_at: datetime | None = None
    phases: list[PhaseView] = []


class AgentView(msgspec.Struct, kw_only=True):
    """An agent of the registry. `state`: present, lost (not heard of), away (left)."""

    agent_id: str
    name: str
    agent_type: str
    state: Literal["present", "lost", "away"]
    drained: bool
    capabilities: list[str]
    slots: int
    busy_slots: int = 0
    policy: str
    owner: str | None = None
    instance: str | None = None
    endpoint_url: str | None = None
    wake: str | None = None
    connection_status: Literal["connected", "disconnected"] = "disconnected"
    labels: dict[str, str] = {}
    metadata: msgspec.Raw = fields.EMPTY_OBJECT
    registered_at: datetime
    changed_at: datetime


SessionState = Literal["created", "dispatched", "running", "idle", "completed", "failed", "timed_out", "cancelled"]
SESSION_ENDED: frozenset[str] = frozenset({"completed", "failed", "timed_out", "cancelled"})


class SessionBrief(msgspec.Struct, omit_defaults=True):
    """The reply to a command about a session: how it stands after the commit. `created` false: it was known before."""

    session_id: str
    state: SessionState
    attempt: int = 0
    created: bool | None = None


class SessionItem(msgspec.Struct, omit_defaults=True):
    """What became of one session of a batch. `index` is its place in the batch, from 0."""

    index: int
    session_id: str | None = None
    state: SessionState | None = None
    created: bool | None = None
    error: str | None = None
    status: int | None = None


class SessionBatch(msgspec.Struct):
    """The reply to a batch dispatch, one item for each session in their order."""

    items: list[SessionItem]


class SessionView(msgspec.Struct, kw_only=True):
    """A session as it is stored. `taken`: its response was taken."""

    session_id: str
    agent_id: str
    state: SessionState
    kind: str
    sender: str
    attempt: int
    instance: str | None = None
    external_ref: str | None = None
    batch_id: str | None = None
    task_id: str | None = None
    task_attempt: int = 0
    simulation_id: str | None = None
    timeout_seconds: float
    max_retries: int
    retry_delay_seconds: float
    retries_used: int = 0
    completion_action: msgspec.Raw = fields.NULL
    content: msgspec.Raw = fields.NULL
    context: msgspec.Raw = fields.EMPTY_OBJECT
    response: msgspec.Raw = fields.NULL
    usage: msgspec.Raw = fields.NULL
    taken: bool = False
    error: str | None = None
    progress_text: str | None = None
    created_at: datetime
    retry_at: datetime | None = None
    dispatched_at: datetime | None = None
    ended_at: datetime | None = None


class ConversationView(msgspec.Struct, kw_only=True):
    """A question and what became of it. `agent_id` is whom `target` meant, `resolution` says why."""

    conversation_id: str
    thread: str
    state: ConversationState
    asker: str
    target: str
    agent_id: str
    resolution: str
    question: msgspec.Raw
    answer: msgspec.Raw = fields.NULL
    reason: str | None = None
    asked_at: datetime
    expires_at: datetime
    delivered_at: datetime | None = None
    ended_at: datetime | None = None
    task_id: str | None = None
    attempt: int | None = None


class MessageBrief(msgspec.Struct):
    """The reply to a message: whom its target meant."""

    message_id: str
    agent_id: str
    state: MessageState


class GraphView(msgspec.Struct):
    """The communication graph of the live hive. `set` false: there is none, and everybody may talk to everybody."""

    set: bool
    nodes: list[Node] = []
    edges: list[Edge] = []


class EventView(msgspec.Struct, kw_only=True):
    """An event of the history."""

    id: str
    seq: int
    writer: str
    type: str
    entity_id: str
    time: datetime
    causationid: str | None = None
    correlationid: str | None = None
    data: msgspec.Raw


class RejectView(msgspec.Struct, kw_only=True):
    """A message that was refused, whole, with the reason. `body` is base64 where it is not UTF-8.

    Of a sender that floods, messages of the same kind within a minute are one entry: `count` is how many, and the rest is
    that of the first. `last_at` is when the last of them was refused.
    """

    reject_id: int
    service: str
    subject: str
    sender: str
    reason: str
    count: int = 1
    rejected_at: datetime
    last_at: datetime
    body: str
    encoding: Literal["utf-8", "base64"] = "utf-8"


class Page(msgspec.Struct):
    """One page of a listing. `cursor` is opaque and asks for the next page; None: there is none."""

    items: list[Any]
    cursor: str | None = None


class QueueView(msgspec.Struct):
    """The queue: counts of what is queued (waits for something), ready and blocked, and a page of it."""

    queued: int
    ready: int
    blocked: int
    items: list[TaskView] = []
    cursor: str | None = None


class Stats(msgspec.Struct):
    """Counts over all tasks that are kept. `completion_s_mean`: from submit to completion, over the last day."""

    tasks: dict[str, int]
    queue_depth: int
    agents: dict[str, int]
    completion_s_mean: float | None = None


class Credentials(msgspec.Struct):
    """NATS credentials in the form of a creds file. Secret."""

    name: str
    role: str
    creds: str


class NewToken(msgspec.Struct, omit_defaults=True):
    """A token of the HTTP door, shown once, and NATS credentials of the same name. Secret."""

    name: str
    role: str
    token: str
    creds: str | None = None


class TokenView(msgspec.Struct):
    """What is kept of a token."""

    name: str
    role: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class RevokedTokens(msgspec.Struct, omit_defaults=True):
    """How many tokens of a name were revoked. `nats` false: NATS credentials of the name hold until they expire, since
    this gateway does not have the keys of nats-server's operator."""

    name: str
    revoked: int
    nats: bool = True
