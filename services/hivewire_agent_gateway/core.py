"""The pure core of the agent gateway: the registry of agents with their presence, and the sessions of remote agents."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from hivewire.commands import sessions as session_commands
from hivewire.commands.agent_gateway import VERBS, AgentBrief, Published
from hivewire.events import Event, ForeignEvent
from hivewire.events.agent import AgentCrashed, AgentEvent, AgentResumed, AgentSpawned
from hivewire.events.kept import SessionRemoved
from hivewire.events.session import SessionEvent
from hivewire.inbox import Beat
from hivewire.views import SessionBatch, SessionBrief
from hivewire_agent_gateway import control, publish, registration
from hivewire_agent_gateway.beats import Told, answer
from hivewire_agent_gateway.registry import Agent, Registry
from hivewire_agent_gateway.sessions import answering
from hivewire_agent_gateway.sessions.desk import Desk
from hivewire_agent_gateway.sessions.dispatching import Bounds, Intake
from hivewire_agent_gateway.sessions.session import Session
from hivewire_agent_gateway.sessions.sessions import Sessions
from hivewire_agent_gateway.states import Presence
from hivewire_agent_gateway.watch import ALLOWANCE_S, Watch
from hivewire_service.core import NOTHING, Command, Refusal, Step

_DECIDE: Mapping[str, Callable[[Registry, Command, datetime], Step | Refusal]] = {
    "register": registration.register,
    "leave": registration.leave,
    "disconnected": registration.disconnected,
    "drain": control.drain,
    "undrain": control.undrain,
    "remove": control.remove,
    "wake": control.wake,
}
_DECIDE_SESSION: Mapping[str, Callable[[Sessions, Command, datetime], Step | Refusal | answering.Verdict]] = {
    "progress": answering.progress,
    "respond": answering.respond,
    "take": answering.take,
    "cancel": answering.cancel,
}

AT_ONCE: Final = datetime.min.replace(tzinfo=UTC)
CRASH_REASON: Final = f"not heard of for {ALLOWANCE_S:g} s"


class AgentGateway:
    """Who is registered, who is there, and what remote agents were given."""

    verbs: Mapping[str, type[msgspec.Struct]] = VERBS
    naturally_idempotent: frozenset[str] = frozenset(
        {"register", "leave", "publish", "dispatch", "dispatch_batch", "progress", "respond"}
    )
    decided_ahead: frozenset[str] = frozenset()

    def __init__(self, bounds: Bounds = Bounds()) -> None:  # noqa: B008 - it is frozen
        self._bounds = bounds
        self.recorded = publish.Recorded()
        self._verdict: Any = None
        self.restore({}, Sessions(), AT_ONCE)

    def restore(self, agents: Mapping[str, Agent], sessions: Sessions, now: datetime) -> None:
        """Start over from what is stored. Whoever is present has the full allowance from now."""
        self.registry = Registry(agents)
        self.sessions = sessions
        self._watch = Watch()
        self._told = Told()
        self._desk = Desk(self.registry, sessions, self._bounds)
        for agent_id, agent in agents.items():
            if agent.presence is Presence.PRESENT:
                self._watch.heard(agent_id, now)

    def recall(self, sessions: Iterable[Session]) -> None:
        """Remember ended sessions again, which commands name."""
        for session in sessions:
            self.sessions.put(session)

    def decide(self, command: Command, now: datetime) -> Step | Refusal:
        """What should happen, or why not. It also notes the verdict that `reply` tells, where the state does not."""
        self._verdict = None
        if command.verb == "publish":
            _, event_id = key = publish.key_of(command)
            self._verdict = Published(event_id, recorded=key not in self.recorded)
            return publish.publish(self.recorded, command, now)
        if command.verb not in session_commands.VERBS:
            return _DECIDE[command.verb](self.registry, command, now)
        if command.verb in {"dispatch", "dispatch_batch"}:
            return self._dispatch(command, now)
        answer_ = _DECIDE_SESSION[command.verb](self.sessions, command, now)
        if isinstance(answer_, answering.Verdict):
            self._verdict = answer_.refusal
            return answer_.step
        return answer_

    def evolve(self, event: Event) -> None:
        """What did happen."""
        if isinstance(event, ForeignEvent):
            self.recorded.add(event)
            return
        if isinstance(event, SessionRemoved):
            self.sessions.remove(event.session_id)
            return
        if isinstance(event, SessionEvent):
            self.sessions.evolve(event)
            self._desk.follow_session(event)
            return
        self.registry.evolve(event)
        match event:
            case AgentSpawned(spawned_at=at) | AgentResumed(resumed_at=at):
                self._watch.heard(event.agent_id, at)
            case _ if self.registry.presence(event.entity_id) is not Presence.PRESENT:
                self._watch.forget(event.entity_id)
        if isinstance(event, AgentEvent):
            self._desk.follow_agent(event)

    def observe(self, observation: Any, now: datetime) -> Step:
        """A beat of an agent or a door, a task for a remote agent, or what became of a report, an action or a wake."""
        if isinstance(observation, control.NotWoken):
            return control.not_woken(self.registry, observation)
        if not isinstance(observation, Beat):
            return self._desk.observe(observation, now)
        agent = self.registry.get(observation.agent_id)
        if agent is not None and agent.instance == observation.instance and agent.presence is Presence.PRESENT:
            self._watch.heard(observation.agent_id, now)
            return self._desk.compare(agent, observation, now)
        return Step(records=[answer(agent, observation)]) if self._told.due(observation, now) else NOTHING

    def advance(self, now: datetime) -> Step:
        """Agents that were silent for too long are lost; sessions go on as time and agents allow."""
        lost = [
            AgentCrashed(
                agent_id=agent_id,
                instance=self.registry.agents[agent_id].instance,
                reason=CRASH_REASON,
                crashed_at=now,
            )
            for agent_id in self._watch.overdue(now)
        ]
        # What follows for their sessions is decided once they are known to be lost, in the next step.
        return Step(events=list(lost)) if lost else self._desk.advance(now)

    def next_due(self) -> datetime | None:
        """When an agent might be overdue, or a session has to be looked at."""
        if self._desk.is_busy:
            return AT_ONCE
        return min((due for due in (self._watch.next_due(), self._desk.next_due()) if due is not None), default=None)

    def heartbeat_age_s(self, now: datetime) -> float:
        """How long ago the present agent was heard that has been silent for longest."""
        return self._watch.silence_s(now)

    def extend(self, silence_s: float, now: datetime) -> None:  # noqa: ARG002
        """Silence counts only while we listened."""
        self._watch.extend(silence_s)
        self._desk.extend(silence_s)

    def reply(self, command: Command) -> AgentBrief | SessionBrief | SessionBatch | Published | Refusal:
        """How the agent or the session stands now, or whether an event is new."""
        if self._verdict is not None:
            verdict: SessionBrief | SessionBatch | Published | Refusal = self._verdict
            return verdict
        if command.verb in session_commands.VERBS:
            session = self.sessions.by_id[command.data.session_id]
            return SessionBrief(session.session_id, session.state, session.attempt)
        agent_id = getattr(command.data, "agent_id", command.sender)
        agent = self.registry.get(agent_id)
        if agent is None:
            return AgentBrief(agent_id, Presence.REMOVED.value)
        return AgentBrief(agent_id, agent.presence.value, agent.instance, agent.drained)

    def _dispatch(self, command: Command, now: datetime) -> Step | Refusal:
        intake = Intake(self.sessions, self.registry, command, now)
        if command.verb == "dispatch_batch":
            self._verdict = SessionBatch(intake.batch())
            return intake.draft.step
        item = intake.single()
        if isinstance(item, Refusal):
            return item
        assert item.session_id is not None
        assert item.state is not None
        known = self.sessions.get(item.session_id)
        self._verdict = SessionBrief(item.session_id, item.state, known.attempt if known else 0, item.created)
        return intake.draft.step
