"""Deciding about new sessions, and which of the waiting ones go to their agents now."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

import msgspec

from hivewire import codec, limits
from hivewire.commands.sessions import Dispatch, DispatchBatch
from hivewire.events.session import SessionCreated, SessionDispatched
from hivewire.inbox import TaskDispatch
from hivewire.rehearsal import SESSION_PREFIX
from hivewire.views import SessionItem
from hivewire_agent_gateway.registry import Agent, Registry
from hivewire_agent_gateway.sessions.records import Draft
from hivewire_agent_gateway.sessions.session import Session
from hivewire_agent_gateway.sessions.sessions import Sessions, counted
from hivewire_agent_gateway.states import Presence
from hivewire_service.core import Command, Refusal
from hivewire_service.roles import RESERVED_NAMES, Role

DISPATCHED_PER_STEP_MAX: Final = 500
_HASH_BYTES: Final = 16


class Bounds(msgspec.Struct, frozen=True):
    """How many direct sessions are open at a time: overall, and for one agent."""

    overall: int = limits.SESSIONS_CONCURRENT
    per_agent: int = limits.SESSIONS_CONCURRENT


class Intake:
    """The sessions of one command, taken or refused one after the other."""

    def __init__(self, sessions: Sessions, registry: Registry, command: Command, now: datetime) -> None:
        self._sessions = sessions
        self._registry = registry
        self._command = command
        self._now = now
        self._ordinal = sessions.last_ordinal
        self._new: dict[str, str] = {}
        self._refs: set[str] = set()
        self.draft = Draft()

    def single(self) -> SessionItem | Refusal:
        """Take the session of a `dispatch`."""
        return self._take(self._command.data, self._command.id, 0)

    def batch(self) -> list[SessionItem]:
        """Take the sessions of a `dispatch_batch`, each by itself."""
        data: DispatchBatch = self._command.data
        items = []
        for index, one in enumerate(data.sessions):
            answer = self._take(one, f"{self._command.id}-{index}", index, data.max_concurrent)
            if isinstance(answer, Refusal):
                answer = SessionItem(index, error=answer.error, status=answer.status)
            items.append(answer)
        return items

    def _take(self, data: Dispatch, default_id: str, index: int, batch_max: int = 0) -> SessionItem | Refusal:
        session_id = data.id or default_id
        digest = _digest(data, self._command.sender)
        known = self._sessions.get(session_id)
        known_digest = known.content_hash if known else self._new.get(session_id)
        if known_digest is not None:
            if known_digest != digest:
                return Refusal(f"session {session_id!r} is known with other content", 409)
            return SessionItem(index, session_id, known.state if known else "created", created=False)
        refusal = self._unfit(session_id, data)
        if refusal is not None:
            return refusal
        self._ordinal += 1
        self._new[session_id] = digest
        if data.external_ref is not None:
            self._refs.add(data.external_ref)
        self.draft.events.append(
            SessionCreated(
                session_id=session_id,
                ordinal=self._ordinal,
                agent_id=data.agent_id,
                sender=self._command.sender,
                kind="simulation" if data.simulation_id else "direct",
                content_hash=digest,
                content=data.content.copy(),
                context=data.context.copy(),
                created_at=self._now,
                timeout_seconds=data.timeout_seconds,
                max_retries=0 if data.simulation_id else data.max_retries,
                retry_delay_seconds=data.retry_delay_seconds,
                external_ref=data.external_ref,
                completion_action=data.completion_action,
                batch_id=self._command.id if batch_max else None,
                batch_max=batch_max,
                simulation_id=data.simulation_id,
            )
        )
        return SessionItem(index, session_id, "created", created=True)

    def _unfit(self, session_id: str, data: Dispatch) -> Refusal | None:
        if session_id.startswith(SESSION_PREFIX) or data.simulation_id:
            return self._unfit_for_simulation(data)
        agent = self._registry.get(data.agent_id)
        if agent is None:
            return Refusal(f"agent {data.agent_id!r} is not registered: `hivewire agents` lists those that are", 404)
        if agent.card.agent_type == "native":
            return Refusal(f"agent {data.agent_id!r} takes no sessions, only tasks: it is connected to NATS", 422)
        other = self._sessions.refs.get(data.external_ref) if data.external_ref else None
        if other is not None or data.external_ref in self._refs:
            named = f"session {other}" if other else "another session of the batch"
            return Refusal(
                f"{named} has the external reference {data.external_ref!r} and has not ended",
                409,
                {"session_id": other} if other else {},
            )
        return None

    def _unfit_for_simulation(self, data: Dispatch) -> Refusal | None:
        """A rehearsal takes agents of every kind, and those that are still to come."""
        if self._command.sender == RESERVED_NAMES[Role.SERVICE] and data.simulation_id:
            return None
        if data.simulation_id:
            return Refusal("simulation_id is set by the tick engine alone: leave it out", 403)
        return Refusal(f"ids that begin with {SESSION_PREFIX!r} are of simulations: choose another", 403)


def for_attempt(sessions: Sessions, session_id: str, agent_id: str, given: TaskDispatch, now: datetime) -> Draft:
    """A session for a task's attempt, which goes to the agent at once: its slots were counted by the broker."""
    content = f"{given.title}\n\n{given.description}" if given.description else given.title
    draft = Draft()
    draft.events += [
        SessionCreated(
            session_id=session_id,
            ordinal=sessions.last_ordinal + 1,
            agent_id=agent_id,
            sender=given.owner,
            kind="task",
            content_hash="",
            content=codec.raw(content),
            context=codec.raw({"task": given}),
            created_at=now,
            timeout_seconds=given.timeout_seconds,
            task_id=given.task_id,
            task_attempt=given.attempt,
        ),
        SessionDispatched(
            session_id=session_id, attempt=1, agent_id=agent_id, instance=given.instance, dispatched_at=now
        ),
    ]
    return draft


def dispatch_waiting(draft: Draft, sessions: Sessions, registry: Registry, bounds: Bounds, now: datetime) -> None:
    """Let waiting sessions go, as far as the bounds allow: in turn among agents, by age for each of them."""
    sessions.may_dispatch = False
    room = _Room(sessions, bounds)
    lines = {
        agent_id: iter(_ready(sessions, registry, agent_id, waiting, draft, now))
        for agent_id, waiting in sessions.waiting.items()
    }
    while lines and not room.is_full:
        for agent_id in list(lines):
            session = room.next_of(lines[agent_id], agent_id)
            if session is None:
                del lines[agent_id]
            elif _send(draft, session, registry, now):
                sessions.may_dispatch = True
                return
    for agent_id, waiting in sessions.simulated.items():
        for session in _ready(sessions, registry, agent_id, waiting, draft, now):
            if len(sessions.held.get(agent_id, ())) + room.added(agent_id) >= registry.agents[agent_id].card.slots:
                break
            room.add(session)
            if _send(draft, session, registry, now):
                sessions.may_dispatch = True
                return


def _ready(
    sessions: Sessions, registry: Registry, agent_id: str, waiting: Mapping[str, Session], draft: Draft, now: datetime
) -> Iterator[Session]:
    """What waits for an agent that can be given something."""
    agent = registry.get(agent_id)
    if agent is None or agent.presence is not Presence.PRESENT or agent.drained:
        return
    for session in waiting.values():
        if session.session_id not in draft.touched and sessions.may_go(session, now):
            yield session


class _Room:
    """The counts of open sessions as they will be after this step."""

    def __init__(self, sessions: Sessions, bounds: Bounds) -> None:
        self._sessions = sessions
        self._bounds = bounds
        self._more: Counter[str] = Counter()
        self._added: Counter[str] = Counter()

    @property
    def is_full(self) -> bool:
        return self._count("") >= self._bounds.overall

    def next_of(self, line: Iterator[Session], agent_id: str) -> Session | None:
        """The agent's oldest session that may go."""
        if self.is_full or self._count(f"agent/{agent_id}") >= self._bounds.per_agent:
            return None
        for session in line:
            if session.batch_id is None or self._count(f"batch/{session.batch_id}") < session.batch_max:
                self.add(session)
                return session
        return None

    def add(self, session: Session) -> None:
        self._added[session.agent_id] += 1
        if session.kind == "direct":
            self._more.update(counted(session))

    def added(self, agent_id: str) -> int:
        return self._added[agent_id]

    def _count(self, name: str) -> int:
        return self._sessions.concurrent[name] + self._more[name]


def _send(draft: Draft, session: Session, registry: Registry, now: datetime) -> bool:
    """Dispatch a session; whether the step is long enough now."""
    draft.events.append(_dispatched(session, registry.agents[session.agent_id], now))
    return len(draft.events) >= DISPATCHED_PER_STEP_MAX


def _dispatched(session: Session, agent: Agent, now: datetime) -> SessionDispatched:
    return SessionDispatched(
        session_id=session.session_id,
        attempt=session.attempt + 1,
        agent_id=session.agent_id,
        instance=agent.instance,
        dispatched_at=now,
    )


def _digest(data: Dispatch, sender: str) -> str:
    said = codec.encode((sender, msgspec.structs.replace(data, id=None)))
    return hashlib.blake2b(said, digest_size=_HASH_BYTES).hexdigest()
