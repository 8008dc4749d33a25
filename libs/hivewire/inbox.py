"""What reaches an agent's inbox and what its beat says. Inbox envelopes have the type `inbox.<kind>`."""

from datetime import datetime
from typing import Annotated

import msgspec

from hivewire import fields, limits
from hivewire.views import ConversationState

TASK = "task"
CANCEL = "cancel"
REPLACED = "replaced"
SYNC = "sync"
DISPATCH = "dispatch"
HALT = "halt"
QUESTION = "question"
ANSWER = "answer"
MESSAGE = "message"


def inbox_type(kind: str) -> str:
    """The envelope's `type` of an inbox message."""
    return f"inbox.{kind}"


BEAT_TYPE = "agent.beat"


class TaskDispatch(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Work for one instance of an agent. It is sent again until the agent's beat lists the attempt."""

    task_id: str
    attempt: int
    instance: str
    title: str
    description: str = ""
    type: str = "auto"
    category: str = "execute"
    owner: str = ""
    required_capabilities: list[str] = []
    priority: int = fields.PRIORITY_DEFAULT
    timeout_seconds: float = limits.TASK_TIMEOUT_S
    deadline: datetime | None = None
    depends_on: list[str] = []
    labels: dict[str, str] = {}
    metadata: msgspec.Raw = fields.EMPTY_OBJECT
    payload: msgspec.Raw = fields.NULL
    files: list[str] = []
    phase_id: str | None = None
    parent_task_id: str | None = None
    feedback: str | None = None
    """Why the work of an earlier attempt was rejected."""
    oversight: str = "autonomous"
    """How closely people look at the work: autonomous, notify, review, approve or supervise."""
    correlationid: str | None = None
    traceparent: str | None = None


class CancelAttempt(msgspec.Struct, omit_defaults=True):
    """Stop working on an attempt: it is no longer the agent's."""

    task_id: str
    attempt: int
    instance: str
    reason: str = ""


class Replaced(msgspec.Struct):
    """A newer process registered under this agent's id; every other instance stops."""

    instance: str


class Sync(msgspec.Struct):
    """Register again: the gateway does not know this instance as present."""

    instance: str


class SessionDispatch(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An attempt of a session for an instance of a remote agent, or for the door that posts it to `endpoint_url`."""

    message_id: str
    session_id: str
    attempt: int
    agent_id: str
    instance: str
    content: msgspec.Raw
    context: msgspec.Raw = fields.EMPTY_OBJECT
    timeout_seconds: float = limits.SESSION_TIMEOUT_S
    endpoint_url: str | None = None
    task_id: str | None = None
    task_attempt: int = 0


class HaltSession(msgspec.Struct, omit_defaults=True):
    """An attempt of a session is over: its answer is no longer wanted."""

    message_id: str
    session_id: str
    agent_id: str
    reason: str = ""
    endpoint_url: str | None = None


class QuestionAsked(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A peer asks. It is sent again until its receipt is known, and whenever the agent registers."""

    conversation_id: str
    thread: str
    asker: str
    target: str
    question: msgspec.Raw
    asked_at: datetime
    expires_at: datetime


class QuestionEnded(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How a question of the agent's own ended: answered, expired or undeliverable. Sent again until its receipt is known."""

    conversation_id: str
    thread: str
    state: ConversationState
    agent_id: str
    answer: msgspec.Raw = fields.NULL
    reason: str | None = None


class MessageReceived(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A peer says something. It is sent again until its receipt is known."""

    message_id: str
    sender: str
    content: msgspec.Raw
    sent_at: datetime


class Held(msgspec.Struct, frozen=True):
    """An attempt that the agent works on."""

    task_id: fields.Token
    attempt: fields.Attempt


class Beat(msgspec.Struct):
    """Sent every 5 s. `loop_count` grows only while the agent's work loop turns. `sessions` are the message ids of the
    dispatches that a remote agent's connection has open."""

    agent_id: fields.Token
    instance: fields.Token
    held: Annotated[list[Held], msgspec.Meta(max_length=limits.HELD_MAX)] = []
    free_slots: fields.Count = 0
    loop_count: fields.Count = 0
    sessions: Annotated[list[fields.Name], msgspec.Meta(max_length=limits.HELD_MAX)] = []
    degraded: bool = False
    """It is registered, but can't be given anything now: no connection to its endpoint could be made, say."""
    returned: bool = False
    """Its connection was lost a short while ago: what it does not hold did not arrive."""


class DoorBeat(msgspec.Struct):
    """A door lives; `posting` are the message ids of the dispatches that it sends to HTTP agents right now.

    `leaving`: it stops, and others must post what it had.
    """

    door_id: fields.Token
    posting: list[str] = []
    leaving: bool = False


KINDS: dict[str, type[msgspec.Struct]] = {
    inbox_type(TASK): TaskDispatch,
    inbox_type(CANCEL): CancelAttempt,
    inbox_type(REPLACED): Replaced,
    inbox_type(SYNC): Sync,
    inbox_type(DISPATCH): SessionDispatch,
    inbox_type(HALT): HaltSession,
    inbox_type(QUESTION): QuestionAsked,
    inbox_type(ANSWER): QuestionEnded,
    inbox_type(MESSAGE): MessageReceived,
}
