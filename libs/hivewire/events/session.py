"""Events of sessions, written by the agent gateway.

An attempt that will be followed by another writes `SessionRetry`. `SessionIdle` holds the answer; the session is
completed once its completion action has succeeded.
"""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from hivewire import fields
from hivewire.commands.sessions import CompletionAction
from hivewire.events.base import Event

SessionKind = Literal["direct", "task", "simulation"]
SessionAttemptEnd = Literal["failed", "timed_out", "lost"]


class SessionEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of sessions."""

    key: ClassVar[str] = "session_id"

    session_id: str


class SessionCreated(SessionEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A session was accepted. One for a task's attempt names both; `ordinal` counts sessions."""

    type: ClassVar[str] = "session.created"

    ordinal: int
    agent_id: str
    sender: str
    kind: SessionKind
    content_hash: str
    content: msgspec.Raw
    context: msgspec.Raw = fields.EMPTY_OBJECT
    created_at: datetime
    timeout_seconds: float
    max_retries: int = 0
    retry_delay_seconds: float = 0.0
    external_ref: str | None = None
    completion_action: CompletionAction = "none"
    batch_id: str | None = None
    batch_max: int = 0
    task_id: str | None = None
    task_attempt: int = 0
    simulation_id: str | None = None


class SessionDispatched(SessionEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An attempt goes to an instance of the agent."""

    type: ClassVar[str] = "session.dispatched"

    attempt: int
    agent_id: str
    instance: str
    dispatched_at: datetime


class SessionRunning(SessionEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent said that it works on the attempt."""

    type: ClassVar[str] = "session.running"

    attempt: int
    running_at: datetime


class SessionProgressed(SessionEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent said how far it is."""

    type: ClassVar[str] = "session.progress"

    attempt: int
    status: str | None = None
    text: str = ""
    progress: float | None = None


class SessionIdle(SessionEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent answered. The response is buffered until it is taken."""

    type: ClassVar[str] = "session.idle"

    attempt: int
    response: msgspec.Raw
    usage: msgspec.Raw = fields.NULL
    response_hash: str
    idle_at: datetime


class SessionRetry(SessionEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An attempt ended without an answer, and another follows from `retry_at` on."""

    type: ClassVar[str] = "session.retry"

    attempt: int
    ended: SessionAttemptEnd
    error: str
    retry_at: datetime
    retries_used: int
    lost_count: int


class SessionCompleted(SessionEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The session is over, its completion action done."""

    type: ClassVar[str] = "session.completed"

    completed_at: datetime


class SessionFailed(SessionEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The session is over without success: the agent reported an error, was lost, or the completion action failed."""

    type: ClassVar[str] = "session.failed"

    error: str
    failed_at: datetime


class SessionTimedOut(SessionEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The session is over because no answer came in time."""

    type: ClassVar[str] = "session.timed_out"

    error: str
    timed_out_at: datetime


class SessionCancelled(SessionEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The session was given up."""

    type: ClassVar[str] = "session.cancelled"

    by: str
    reason: str = ""
    cancelled_at: datetime


class SessionActionFailed(SessionEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The completion action failed and is tried again from `retry_at` on."""

    type: ClassVar[str] = "session.action_failed"

    tries: int
    error: str
    retry_at: datetime


class SessionResponseTaken(SessionEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The buffered response was taken."""

    type: ClassVar[str] = "session.response_taken"

    by: str


class SessionResponseRefused(SessionEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An answer came that could not be taken: late, a second one, or of somebody else."""

    type: ClassVar[str] = "session.response_refused"

    agent_id: str
    attempt: int
    reason: str


class SessionReported(SessionEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The broker knows how a task's session ended."""

    type: ClassVar[str] = "session.reported"


EVENTS: tuple[type[Event], ...] = (
    SessionCreated,
    SessionDispatched,
    SessionRunning,
    SessionProgressed,
    SessionIdle,
    SessionRetry,
    SessionCompleted,
    SessionFailed,
    SessionTimedOut,
    SessionCancelled,
    SessionActionFailed,
    SessionResponseTaken,
    SessionResponseRefused,
    SessionReported,
)
