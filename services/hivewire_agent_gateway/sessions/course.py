"""What becomes of sessions without anybody saying so: timeouts, lost agents, and what follows an attempt."""

from datetime import datetime, timedelta
from typing import Final

from hivewire import limits
from hivewire.events.session import SessionAttemptEnd, SessionFailed, SessionRetry, SessionTimedOut
from hivewire_agent_gateway.registry import Registry
from hivewire_agent_gateway.sessions.records import Act, Draft, Halt
from hivewire_agent_gateway.sessions.session import Session
from hivewire_agent_gateway.sessions.sessions import Sessions
from hivewire_agent_gateway.states import Presence

TIMERS_MAX: Final = 1_000
"""Sessions that one step looks at because their time has come; the others follow in the next step."""


def after_attempt(draft: Draft, session: Session, ended: SessionAttemptEnd, error: str, now: datetime) -> None:
    """Let another attempt follow, or end the session. One for a task never retries by itself: the broker does."""
    draft.touched.add(session.session_id)
    lost_count = session.lost_count + (ended == "lost")
    retries_used = session.retries_used + (ended != "lost")
    if ended == "lost":
        goes_on = session.kind == "direct" and lost_count < limits.SESSION_LOST_MAX
    else:
        goes_on = session.kind == "direct" and retries_used <= session.max_retries
    if goes_on:
        pause = timedelta(seconds=0.0 if ended == "lost" else session.retry_delay_seconds)
        draft.events.append(
            SessionRetry(
                session_id=session.session_id,
                attempt=session.attempt,
                ended=ended,
                error=error,
                retry_at=now + pause,
                retries_used=retries_used,
                lost_count=lost_count,
            )
        )
    elif ended == "timed_out":
        draft.events.append(SessionTimedOut(session_id=session.session_id, error=error, timed_out_at=now))
    else:
        draft.events.append(SessionFailed(session_id=session.session_id, error=error, failed_at=now))


def lose_absent(draft: Draft, sessions: Sessions, registry: Registry, agent_id: str, now: datetime) -> None:
    """End every attempt of an agent that is not with the instance that speaks for it now."""
    agent = registry.get(agent_id)
    present = agent.instance if agent is not None and agent.presence is Presence.PRESENT else None
    for session in sessions.held.get(agent_id, {}).values():
        if session.instance != present and session.session_id not in draft.touched:
            why = "another instance took its place" if present else "it is gone"
            after_attempt(draft, session, "lost", f"agent {agent_id} lost it: {why}", now)
    if agent is None:
        for session in (*sessions.waiting.get(agent_id, {}).values(), *sessions.simulated.get(agent_id, {}).values()):
            if session.session_id not in draft.touched:
                draft.touched.add(session.session_id)
                error = f"agent {agent_id} was removed"
                draft.events.append(SessionFailed(session_id=session.session_id, error=error, failed_at=now))


def run_timers(draft: Draft, sessions: Sessions, acting: set[str], now: datetime) -> None:
    """Look at every session whose time has come."""
    for _ in range(TIMERS_MAX):
        session = sessions.pop_due(now)
        if session is None:
            return
        if session.session_id not in draft.touched:
            _time_has_come(draft, sessions, session, acting, now)


def _time_has_come(draft: Draft, sessions: Sessions, session: Session, acting: set[str], now: datetime) -> None:
    if session.state == "created":
        sessions.may_dispatch |= sessions.may_go(session, now)
        if sessions.queued_until(session) <= now:
            draft.touched.add(session.session_id)
            error = "its agent could not take it in time"
            draft.events.append(SessionTimedOut(session_id=session.session_id, error=error, timed_out_at=now))
    elif session.state == "idle":
        if session.session_id not in acting and session.action_at is not None and session.action_at <= now:
            acting.add(session.session_id)
            draft.records.append(Act(session.session_id))
    elif sessions.expires_at(session) > now:
        sessions.arm(session, sessions.expires_at(session))
    else:
        draft.records.append(Halt(session.session_id, session.agent_id, session.message_id, "timed out"))
        error = f"no answer within {session.timeout_seconds:g} s"
        after_attempt(draft, session, "timed_out", error, now)
