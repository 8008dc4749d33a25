"""One session: what its events add up to."""

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from hivewire.commands.sessions import CompletionAction
from hivewire.events import Event
from hivewire.events import session as events
from hivewire.events.session import SessionKind
from hivewire.subjects import BROKER
from hivewire.views import SESSION_ENDED, SessionState
from hivewire_agent_gateway.sessions.states import following


class Session(msgspec.Struct, kw_only=True):
    """A session as it is kept in memory and, under the same names, in the table `session`.

    Its content and its response are in the table alone. `reported` matters for a task's session only: the broker knows
    its end, or need not be told.
    """

    session_id: str
    ordinal: int
    agent_id: str
    sender: str
    kind: SessionKind
    state: SessionState
    content_hash: str
    created_at: datetime
    timeout_seconds: float
    max_retries: int
    retry_delay_seconds: float
    external_ref: str | None
    completion_action: CompletionAction
    batch_id: str | None
    batch_max: int
    task_id: str | None
    task_attempt: int
    simulation_id: str | None
    attempt: int = 0
    instance: str | None = None
    retries_used: int = 0
    lost_count: int = 0
    retry_at: datetime | None = None
    dispatched_at: datetime | None = None
    response_hash: str | None = None
    taken: bool = False
    action_tries: int = 0
    action_at: datetime | None = None
    reported: bool = False
    progress_text: str | None = None
    error: str | None = None
    ended_at: datetime | None = None

    @property
    def ended(self) -> bool:
        return self.state in SESSION_ENDED

    @property
    def open(self) -> bool:
        """Whether an agent has it."""
        return self.state in {"dispatched", "running"}

    @property
    def message_id(self) -> str:
        """Names the present attempt to the agent."""
        return f"{self.session_id}.{self.attempt}"

    @property
    def expires_at(self) -> datetime:
        """When the open attempt is over without an answer."""
        assert self.dispatched_at is not None
        return self.dispatched_at + timedelta(seconds=self.timeout_seconds)


def created(event: events.SessionCreated) -> Session:
    """A new session."""
    given = {name: getattr(event, name) for name in _GIVEN}
    return Session(state=following(None, event.type), **given)


def apply(session: Session, event: Event) -> None:
    """Take in one later event.

    Raises:
        IllegalTransition: the event cannot happen in the session's state; nothing changed.
    """
    state = following(session.state, event.type)
    for name, value in _changes(session, event).items():
        setattr(session, name, value)
    session.state = state


def _changes(session: Session, event: Event) -> dict[str, Any]:
    """What an event changes beside the state."""
    match event:
        case events.SessionDispatched(attempt=attempt, instance=instance, dispatched_at=at):
            return {"attempt": attempt, "instance": instance, "dispatched_at": at, "retry_at": None}
        case events.SessionProgressed(text=text):
            return {"progress_text": text or session.progress_text}
        case events.SessionRetry():
            return {name: getattr(event, name) for name in ("error", "retry_at", "retries_used", "lost_count")}
        case events.SessionIdle() | events.SessionActionFailed() | events.SessionResponseTaken():
            return _answered(event)
        case _:
            return _ending(event)


def _answered(event: Event) -> dict[str, Any]:
    match event:
        case events.SessionIdle(response_hash=digest, idle_at=at):
            return {"response_hash": digest, "action_at": at, "error": None}
        case events.SessionActionFailed(tries=tries, error=error, retry_at=at):
            return {"action_tries": tries, "error": error, "action_at": at}
        case _:
            return {"taken": True}


def _ending(event: Event) -> dict[str, Any]:
    match event:
        case events.SessionCompleted(completed_at=at):
            return {"ended_at": at, "error": None}
        case events.SessionFailed(error=error, failed_at=at):
            return {"ended_at": at, "error": error}
        case events.SessionTimedOut(error=error, timed_out_at=at):
            # The broker runs its own clock on the attempt.
            return {"ended_at": at, "error": error, "reported": True}
        case events.SessionCancelled(by=by, reason=reason, cancelled_at=at):
            return {"ended_at": at, "error": reason or None, "reported": by == BROKER}
        case events.SessionReported():
            return {"reported": True}
        case _:
            return {}


_GIVEN: Final = tuple(
    name for name in Session.__struct_fields__ if name in events.SessionCreated.__struct_fields__ and name != "state"
)
