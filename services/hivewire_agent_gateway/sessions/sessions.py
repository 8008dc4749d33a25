"""All sessions of the hive, with the indexes that keep every step's cost flat. `evolve` alone changes them."""

import heapq
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from hivewire import limits
from hivewire.events import Event
from hivewire.events.session import SessionCreated
from hivewire_agent_gateway.sessions.session import Session, apply, created

ENDED_REMEMBERED_MAX: Final = 10_000
"""Ended sessions kept in memory; older ones are read again when a command names them."""
_STALE_TIMERS_MIN: Final = 10_000

_QUEUED_MAX = timedelta(seconds=limits.SESSION_QUEUED_S_MAX)


class Sessions:
    """Live sessions, and the ended ones that are remembered."""

    def __init__(self, sessions: Iterable[Session] = (), last_ordinal: int = 0) -> None:
        self.by_id: dict[str, Session] = {}
        self.last_ordinal = last_ordinal
        self.refs: dict[str, str] = {}
        """By external reference: the live session that bears it."""
        self.waiting: dict[str, dict[str, Session]] = {}
        """By agent: what is to be dispatched to it, oldest first."""
        self.simulated: dict[str, dict[str, Session]] = {}
        """The same for the sessions of simulations."""
        self.held: dict[str, dict[str, Session]] = {}
        """By agent: what it has been given and has not answered."""
        self.concurrent: Counter[str] = Counter()
        """Open direct sessions: of each agent, of each batch, and all under the empty name."""
        self.unreported: dict[str, Session] = {}
        """Ended sessions of tasks of whose end the broker does not know."""
        self.may_dispatch = False
        """Whether something changed that lets a waiting session go."""
        self._rested: set[str] = set()
        """Waiting sessions whose pause before the next attempt is over, even if the clock is set back after that."""
        self._timers: list[tuple[datetime, str]] = []
        self._grace: dict[str, timedelta] = {}
        self._ended: dict[str, None] = {}
        for session in sessions:
            self.put(session)

    def get(self, session_id: str) -> Session | None:
        return self.by_id.get(session_id)

    def put(self, session: Session) -> None:
        """Add a session that was read from Postgres."""
        if session.session_id not in self.by_id:
            self.by_id[session.session_id] = session
            self._file(session)
            self._arm(session)

    def evolve(self, event: Event) -> None:
        """Take in one event of a session.

        Raises:
            IllegalTransition: it cannot happen in the session's state; nothing changed.
        """
        if isinstance(event, SessionCreated):
            self.last_ordinal = max(self.last_ordinal, event.ordinal)
            self.put(created(event))
            return
        session = self.by_id[event.entity_id]
        before, was_open = session.state, session.open
        self._unfile(session)
        try:
            apply(session, event)
        finally:
            self._file(session)
        if was_open and not session.open:
            self._grace.pop(session.session_id, None)
            self.may_dispatch = bool(self.waiting or self.simulated)
        if session.state != before:
            self._rested.discard(session.session_id)
        if session.state != before or event.type == "session.action_failed":
            self._arm(session)

    def remove(self, session_id: str) -> None:
        """An ended session is no more."""
        self.by_id.pop(session_id, None)
        self._ended.pop(session_id, None)

    def forget_old(self) -> None:
        """Drop the oldest ended sessions, so that memory does not grow with history."""
        while len(self._ended) > ENDED_REMEMBERED_MAX:
            session_id = next(iter(self._ended))
            del self._ended[session_id]
            if session_id not in self.unreported:
                self.by_id.pop(session_id, None)

    # --- what is due --------------------------------------------------------------------------------------
    def expires_at(self, session: Session) -> datetime:
        """When the open attempt is over, the time not counted in which nobody could be heard."""
        return session.expires_at + self._grace.get(session.session_id, timedelta())

    def extend(self, silence_s: float) -> None:
        """Nobody could be heard: every open attempt gets as much more time."""
        silence = timedelta(seconds=silence_s)
        for held in self.held.values():
            for session_id in held:
                self._grace[session_id] = self._grace.get(session_id, timedelta()) + silence

    def next_due(self) -> datetime | None:
        """When a session's time comes, perhaps for nothing."""
        return self._timers[0][0] if self._timers else None

    def pop_due(self, now: datetime) -> Session | None:
        """A session that has to be looked at, or None."""
        while self._timers and self._timers[0][0] <= now:
            _, session_id = heapq.heappop(self._timers)
            session = self.by_id.get(session_id)
            if session is not None and not session.ended:
                return session
        return None

    def arm(self, session: Session, due: datetime) -> None:
        """Look at the session at `due`."""
        heapq.heappush(self._timers, (due, session.session_id))
        if len(self._timers) > _STALE_TIMERS_MIN + 3 * (len(self.by_id) - len(self._ended)):
            self._timers = [entry for entry in self._timers if self._is_live(entry[1])]
            heapq.heapify(self._timers)

    def may_go(self, session: Session, now: datetime) -> bool:
        """Whether a waiting session's pause before its next attempt is over."""
        if session.retry_at is not None and session.retry_at <= now:
            self._rested.add(session.session_id)
        return session.retry_at is None or session.session_id in self._rested

    def queued_until(self, session: Session) -> datetime:
        """How long it may wait for its dispatch."""
        return max(session.retry_at or session.created_at, session.created_at) + _QUEUED_MAX

    def _is_live(self, session_id: str) -> bool:
        session = self.by_id.get(session_id)
        return session is not None and not session.ended

    def _arm(self, session: Session) -> None:
        if session.state == "created":
            self.arm(session, self.queued_until(session))
            if session.retry_at is not None:
                self.arm(session, session.retry_at)
        elif session.open:
            self.arm(session, self.expires_at(session))
        elif session.state == "idle" and session.action_at is not None:
            self.arm(session, session.action_at)

    # --- indexes ------------------------------------------------------------------------------------------
    def _file(self, session: Session) -> None:
        if session.ended:
            self._ended[session.session_id] = None
            if session.kind == "task" and not session.reported:
                self.unreported[session.session_id] = session
            return
        if session.external_ref is not None:
            self.refs[session.external_ref] = session.session_id
        if session.state == "created":
            self._line(session).setdefault(session.agent_id, {})[session.session_id] = session
            self.may_dispatch = True
        elif session.open:
            self.held.setdefault(session.agent_id, {})[session.session_id] = session
            if session.kind == "direct":
                self.concurrent.update(counted(session))

    def _unfile(self, session: Session) -> None:
        if session.ended:
            self._ended.pop(session.session_id, None)
            self.unreported.pop(session.session_id, None)
            return
        if session.external_ref is not None:
            self.refs.pop(session.external_ref, None)
        if session.state == "created":
            _remove(self._line(session), session)
        elif session.open:
            _remove(self.held, session)
            if session.kind == "direct":
                self._uncount(session)

    def _line(self, session: Session) -> dict[str, dict[str, Session]]:
        return self.simulated if session.kind == "simulation" else self.waiting

    def _uncount(self, session: Session) -> None:
        for name in counted(session):
            self.concurrent[name] -= 1
            if not self.concurrent[name]:
                del self.concurrent[name]


def counted(session: Session) -> list[str]:
    """The counts that an open direct session takes part in. No name of an agent or a batch has a slash."""
    names = ["", f"agent/{session.agent_id}"]
    return [*names, f"batch/{session.batch_id}"] if session.batch_id else names


def _remove(index: dict[str, dict[str, Session]], session: Session) -> None:
    """Take a session out. Its agent becomes the last of all: whoever was served waits for its next turn."""
    of_agent = index.pop(session.agent_id)
    del of_agent[session.session_id]
    if of_agent:
        index[session.agent_id] = of_agent
