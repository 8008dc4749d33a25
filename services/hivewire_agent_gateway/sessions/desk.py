"""What the gateway's core does for its sessions beside deciding commands. Holds no rule of its own."""

from datetime import datetime, timedelta
from typing import Any, Final

from hivewire import limits
from hivewire.events.agent import AgentEvent
from hivewire.events.session import SessionDispatched, SessionEvent
from hivewire.inbox import Beat, DoorBeat
from hivewire.subjects import BROKER
from hivewire_agent_gateway.registry import Agent, Registry
from hivewire_agent_gateway.sessions import answering, course
from hivewire_agent_gateway.sessions.dispatching import Bounds, dispatch_waiting, for_attempt
from hivewire_agent_gateway.sessions.doors import Doors
from hivewire_agent_gateway.sessions.records import Acted, Draft, GivenTask, Halt, Report, Reported, Send, TakenBack
from hivewire_agent_gateway.sessions.session import Session
from hivewire_agent_gateway.sessions.sessions import Sessions
from hivewire_agent_gateway.states import Presence
from hivewire_service.core import NOTHING, Refusal, Step

RESEND_AFTER: Final = timedelta(seconds=2 * limits.BEAT_INTERVAL_S)
"""A dispatch that no beat lists for so long did not arrive."""


class Desk:
    """Sends what is dispatched, compares what agents hold, and keeps sessions in step with agents and tasks."""

    def __init__(self, registry: Registry, sessions: Sessions, bounds: Bounds) -> None:
        self._registry = registry
        self._sessions = sessions
        self._bounds = bounds
        self._doors = Doors()
        self._sent_at: dict[str, datetime] = {}
        self._moved: dict[str, None] = {}
        """Agents of which something changed: their sessions have to be looked at."""
        self._to_report: dict[str, None] = dict.fromkeys(sessions.unreported)
        self._acting: set[str] = set()
        for agent_id, held in sessions.held.items():
            self._moved[agent_id] = None
            for session in held.values():
                self._open_post(session)

    # --- what happened ------------------------------------------------------------------------------------
    def follow_agent(self, event: AgentEvent) -> None:
        """An agent came, went or changed."""
        sessions = self._sessions
        if any(event.agent_id in index for index in (sessions.held, sessions.waiting, sessions.simulated)):
            self._moved[event.agent_id] = None
            sessions.may_dispatch = True
        if event.type in {"agent.spawned", "agent.resumed"}:
            for session_id in sessions.held.get(event.agent_id, ()):
                self._sent_at.pop(session_id, None)

    def follow_session(self, event: SessionEvent) -> None:
        """A session went on."""
        session = self._sessions.by_id[event.session_id]
        if isinstance(event, SessionDispatched):
            self._open_post(session)
            self._moved[session.agent_id] = None
        elif session.state != "dispatched":
            self._doors.close(session.session_id)
        if not session.open:
            self._sent_at.pop(session.session_id, None)
        if session.session_id in self._sessions.unreported:
            self._to_report[session.session_id] = None
        if event.type == "session.action_failed" or session.ended:
            self._acting.discard(session.session_id)

    # --- what is seen -------------------------------------------------------------------------------------
    def observe(self, seen: Any, now: datetime) -> Step:
        """A door's beat, the broker's words to a remote agent, or the outcome of a report or an action."""
        match seen:
            case DoorBeat():
                self._doors.heard(seen, self._message_ids(), now)
            case GivenTask():
                return self._given(seen, now)
            case TakenBack():
                return self._taken_back(seen, now)
            case Reported(session_id) if session_id in self._sessions.unreported:
                return Step([answering.reported(session_id)])
            case Acted(session_id):
                session = self._sessions.get(session_id)
                return NOTHING if session is None else answering.acted(session, seen, now)
        return NOTHING

    def compare(self, agent: Agent, beat: Beat, now: datetime) -> Step:
        """Compare what an agent's connection says it holds with what the agent was given."""
        if is_http(agent):
            return NOTHING
        listed = set(beat.sessions)
        records: list[Send | Halt] = []
        for session in self._sessions.held.get(beat.agent_id, {}).values():
            if session.message_id in listed:
                listed.discard(session.message_id)
            elif now - self._sent_at.get(session.session_id, now) >= RESEND_AFTER:
                self._sent_at[session.session_id] = now
                records.append(Send(session.session_id))
        for message_id in sorted(listed):
            session_id = message_id.rpartition(".")[0]
            records.append(Halt(session_id, beat.agent_id, message_id, "nobody waits for its answer"))
        return Step(records=records)

    def _message_ids(self) -> dict[str, str]:
        return {
            session.session_id: session.message_id for held in self._sessions.held.values() for session in held.values()
        }

    def _given(self, seen: GivenTask, now: datetime) -> Step:
        """The broker gave a task to a remote agent: once more, if the message is a repeat."""
        agent = self._registry.get(seen.agent_id)
        if agent is None or agent.presence is not Presence.PRESENT or agent.instance != seen.task.instance:
            return NOTHING
        known = self._sessions.get(seen.session_id)
        if known is None:
            return for_attempt(self._sessions, seen.session_id, seen.agent_id, seen.task, now).step
        if known.ended:
            return Step(records=[Report(known.session_id, "end")])
        return NOTHING

    def _taken_back(self, seen: TakenBack, now: datetime) -> Step:
        """The broker took an attempt back."""
        session = self._sessions.get(seen.session_id)
        if session is None or not session.open:
            return NOTHING
        step = answering.cancelled(session, BROKER, seen.reason, now)
        return NOTHING if isinstance(step, Refusal) else step

    # --- what is due --------------------------------------------------------------------------------------
    @property
    def is_busy(self) -> bool:
        """Whether `advance` has something to do at once."""
        return bool(self._sessions.may_dispatch or self._moved or self._to_report or self._doors.pending)

    def next_due(self) -> datetime | None:
        """When a session or a door has to be looked at."""
        due = (self._sessions.next_due(), self._doors.next_due())
        return min((at for at in due if at is not None), default=None)

    def extend(self, silence_s: float) -> None:
        """Nobody could be heard."""
        self._sessions.extend(silence_s)
        self._doors.extend(silence_s)

    def advance(self, now: datetime) -> Step:
        """Losses, timeouts, dispatches, and what has to be sent and reported."""
        draft = Draft()
        self._sessions.forget_old()
        for agent_id in self._moved:
            course.lose_absent(draft, self._sessions, self._registry, agent_id, now)
            self._send_unsent(draft, agent_id, now)
        self._moved.clear()
        course.run_timers(draft, self._sessions, self._acting, now)
        if self._sessions.may_dispatch:
            dispatch_waiting(draft, self._sessions, self._registry, self._bounds, now)
        draft.records += [Send(session_id, door_id) for session_id, door_id in self._doors.give_out(now)]
        draft.records += [Report(session_id, "end") for session_id in self._to_report]
        self._to_report.clear()
        return draft.step

    def _send_unsent(self, draft: Draft, agent_id: str, now: datetime) -> None:
        """Send what the agent's connection was not sent since it registered."""
        agent = self._registry.get(agent_id)
        if agent is None or agent.presence is not Presence.PRESENT:
            return
        for session in self._sessions.held.get(agent_id, {}).values():
            if session.session_id in self._sent_at or session.session_id in draft.touched:
                continue
            self._sent_at[session.session_id] = now
            if session.kind == "task":
                draft.records.append(Report(session.session_id, "start"))
            if not is_http(agent):
                draft.records.append(Send(session.session_id))

    def _open_post(self, session: Session) -> None:
        agent = self._registry.get(session.agent_id)
        if agent is not None and is_http(agent) and session.state == "dispatched":
            self._doors.open(session.session_id)


def is_http(agent: Agent) -> bool:
    """Whether the agent is reached by POST to its endpoint."""
    return agent.card.agent_type == "remote" and agent.card.endpoint_url is not None
