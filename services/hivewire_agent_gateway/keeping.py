"""What the gateway keeps, and for how long."""

from collections.abc import Iterable, Sequence

import asyncpg
import msgspec

from hivewire import codec
from hivewire.events import Event
from hivewire.events.kept import AgentSnapshot, SessionRemoved, SessionSnapshot, Snapshot
from hivewire_agent_gateway.registry import Agent
from hivewire_agent_gateway.rows import SQL, read_agents
from hivewire_agent_gateway.session_rows import read_sessions
from hivewire_agent_gateway.sessions.session import Session
from hivewire_service.retention import Cut, Keeping, Kind

_agents = msgspec.json.Decoder(Agent)
_sessions = msgspec.json.Decoder(Session)


def kept_agent(snapshot: AgentSnapshot) -> Agent:
    """The agent that a snapshot holds."""
    return _agents.decode(snapshot.state)


def kept_session(snapshot: SessionSnapshot) -> Session:
    """The session that a snapshot holds."""
    return _sessions.decode(snapshot.state)


async def _agents_now(connection: asyncpg.Connection, ids: Sequence[str], cut: Cut) -> Iterable[Snapshot]:
    known = await read_agents(connection)
    return [
        AgentSnapshot(agent_id=key, as_of=cut.as_of, through=cut.through, state=codec.raw(known[key]))
        for key in ids
        if key in known
    ]


async def _sessions_now(connection: asyncpg.Connection, ids: Sequence[str], cut: Cut) -> Iterable[Snapshot]:
    return [
        SessionSnapshot(session_id=session.session_id, as_of=cut.as_of, through=cut.through, state=codec.raw(session))
        for session in await read_sessions(connection, ids)
    ]


def _removed(session_id: str) -> Event:
    return SessionRemoved(session_id=session_id)


KEEPING = Keeping(
    kinds=(
        Kind("agent", "agent", AgentSnapshot, _agents_now),
        Kind("session", "session", SessionSnapshot, _sessions_now, expired=SQL.expired_sessions, removed=_removed),
    ),
    forgets=(SQL.forget_foreign_events,),
)
"""Ended sessions go, and so does what is known of old events from outside; agents stay until they are removed."""
