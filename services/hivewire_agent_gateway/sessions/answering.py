"""Deciding about what agents and people say of a session: progress, the answer, taking it, giving it up."""

import hashlib
from datetime import datetime, timedelta
from typing import Final

from hivewire import limits
from hivewire.commands.sessions import CancelSession, Respond, SessionProgress, TakeResponse
from hivewire.events.session import (
    SessionActionFailed,
    SessionCancelled,
    SessionCompleted,
    SessionFailed,
    SessionIdle,
    SessionProgressed,
    SessionReported,
    SessionResponseRefused,
    SessionResponseTaken,
    SessionRunning,
)
from hivewire_agent_gateway.sessions import course
from hivewire_agent_gateway.sessions.records import Acted, Draft, Halt, Report, Unreached
from hivewire_agent_gateway.sessions.session import Session
from hivewire_agent_gateway.sessions.sessions import Sessions
from hivewire_agent_gateway.sessions.states import allows
from hivewire_service.core import NOTHING, Command, Kept, Refusal, Step

_HASH_BYTES: Final = 16
_ACTION_PAUSE_S: Final = 1.0


class Verdict:
    """A step that is answered with a refusal: what was refused is part of the history."""

    def __init__(self, step: Step, refusal: Refusal) -> None:
        self.step = step
        self.refusal = refusal


def progress(sessions: Sessions, command: Command, now: datetime) -> Step | Refusal:
    """The agent works on an attempt."""
    data: SessionProgress = command.data
    session = sessions.get(data.session_id)
    if session is None:
        return unknown(data.session_id)
    problem = _fence(session, data.attempt, command.sender)
    if problem is not None:
        return problem
    if not session.open:
        return _over(session)
    draft = Draft()
    if session.state == "dispatched":
        draft.events.append(SessionRunning(session_id=session.session_id, attempt=data.attempt, running_at=now))
    if data.text or data.status or data.progress is not None:
        draft.events.append(
            SessionProgressed(
                session_id=session.session_id,
                attempt=data.attempt,
                status=data.status,
                text=data.text,
                progress=data.progress,
            )
        )
        if session.kind == "task":
            draft.records.append(Report(session.session_id, "progress", data.progress, data.text or data.status or ""))
    return draft.step


def respond(sessions: Sessions, command: Command, now: datetime) -> Step | Refusal | Verdict:
    """The agent's answer. One that cannot be taken is refused, and recorded."""
    data: Respond = command.data
    session = sessions.get(data.session_id)
    if session is None:
        return unknown(data.session_id)
    digest = _digest(data)
    problem = _fence(session, data.attempt, command.sender)
    if problem is None and not session.open:
        if session.response_hash == digest:
            return NOTHING
        problem = _over(session)
    if problem is not None:
        refused = SessionResponseRefused(
            session_id=session.session_id, agent_id=command.sender, attempt=data.attempt, reason=problem.error
        )
        return Verdict(Step([refused]), problem)
    if data.error is not None:
        draft = Draft()
        course.after_attempt(draft, session, "failed", data.error, now)
        if data.unreachable:
            draft.records.append(Unreached(session.agent_id))
        return draft.step
    idle = SessionIdle(
        session_id=session.session_id,
        attempt=data.attempt,
        response=data.content.copy(),
        usage=data.usage.copy(),
        response_hash=digest,
        idle_at=now,
    )
    if session.completion_action == "none":
        return Step([idle, SessionCompleted(session_id=session.session_id, completed_at=now)])
    return Step([idle])


def take(sessions: Sessions, command: Command, _now: datetime) -> Step | Refusal:
    """Hand the buffered response over, once."""
    data: TakeResponse = command.data
    session = sessions.get(data.session_id)
    if session is None:
        return unknown(data.session_id)
    if session.taken:
        return Refusal(f"the response of session {data.session_id} was taken before", 409, {"state": session.state})
    if session.response_hash is None or not allows(session.state, SessionResponseTaken.type):
        return Refusal(
            f"session {data.session_id} has no response: it is {session.state}", 409, {"state": session.state}
        )
    return Step([SessionResponseTaken(session_id=session.session_id, by=command.sender)])


def cancel(sessions: Sessions, command: Command, now: datetime) -> Step | Refusal:
    """Give the session up."""
    data: CancelSession = command.data
    session = sessions.get(data.session_id)
    if session is None:
        return unknown(data.session_id)
    if session.state == "cancelled":
        return NOTHING
    return cancelled(session, command.sender, data.reason, now)


def cancelled(session: Session, by: str, reason: str, now: datetime) -> Step | Refusal:
    """End the session, and tell its agent."""
    if not allows(session.state, SessionCancelled.type):
        return _over(session)
    event = SessionCancelled(session_id=session.session_id, by=by, reason=reason, cancelled_at=now)
    tell = Halt(session.session_id, session.agent_id, session.message_id, reason or "cancelled")
    return Step([event], [tell] if session.open else [])


def acted(session: Session, seen: Acted, now: datetime) -> Step:
    """The completion action was run."""
    if session.state != "idle":
        return NOTHING
    if seen.error is None:
        return Step([SessionCompleted(session_id=session.session_id, completed_at=now)])
    tries = session.action_tries + 1
    if tries >= limits.ACTION_TRIES_MAX:
        error = f"its completion action failed {tries} times: {seen.error}"[: limits.ERROR_CHARS_MAX]
        return Step([SessionFailed(session_id=session.session_id, error=error, failed_at=now)])
    retry_at = now + timedelta(seconds=_ACTION_PAUSE_S * 2**session.action_tries)
    return Step([SessionActionFailed(session_id=session.session_id, tries=tries, error=seen.error, retry_at=retry_at)])


def reported(session_id: str) -> SessionReported:
    """The broker knows the end of a task's session."""
    return SessionReported(session_id=session_id)


def unknown(session_id: str) -> Refusal:
    return Refusal(f"there is no session {session_id!r}", 404)


def _fence(session: Session, attempt: int, sender: str) -> Refusal | None:
    """Why what an agent says is not about the present attempt, or not the agent's to say."""
    if session.agent_id != sender:
        return Refusal(f"session {session.session_id} is not {sender}'s", 403, kept=Kept.REPORT)
    if attempt != session.attempt:
        error = f"attempt {attempt} of session {session.session_id} is not its last, {session.attempt} is"
        return Refusal(error, 409, kept=Kept.REPORT)
    return None


def _over(session: Session) -> Refusal:
    error = f"session {session.session_id} waits for no answer: it is {session.state}"
    return Refusal(error, 409, {"state": session.state}, kept=Kept.REPORT)


def _digest(data: Respond) -> str:
    said = b"\0".join((str(data.attempt).encode(), bytes(data.content), bytes(data.usage)))
    return hashlib.blake2b(said, digest_size=_HASH_BYTES).hexdigest()
