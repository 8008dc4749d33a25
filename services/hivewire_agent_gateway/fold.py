"""Whether the tables of agents and sessions are what the history adds up to."""

from dataclasses import fields
from typing import Any

import asyncpg

from hivewire.events.kept import AgentSnapshot, SessionRemoved, SessionSnapshot
from hivewire.events.session import EVENTS, SessionCreated, SessionEvent
from hivewire.subjects import AGENT_GATEWAY
from hivewire_agent_gateway.keeping import kept_agent, kept_session
from hivewire_agent_gateway.registry import Agent, Registry
from hivewire_agent_gateway.rows import AGENT_EVENTS, read_agents
from hivewire_agent_gateway.session_rows import read_sessions
from hivewire_agent_gateway.sessions import states
from hivewire_agent_gateway.sessions.session import Session, apply, created
from hivewire_agent_gateway.states import IllegalTransition
from hivewire_service.retention import Remains


async def differences(connection: asyncpg.Connection) -> list[str]:
    """Replay the gateway's events and compare; one line for each thing that differs, none when all is well."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        registry, folded, found = await _replay(connection)
        stored = await read_agents(connection)
        sessions = {session.session_id: session for session in await read_sessions(connection)}
    for agent_id in sorted(registry.agents.keys() | stored.keys()):
        found += _compare("agent", agent_id, registry.agents.get(agent_id), stored.get(agent_id), _AGENT_FIELDS)
    for session_id in sorted(folded.keys() | sessions.keys()):
        found += _compare("session", session_id, folded.get(session_id), sessions.get(session_id), _SESSION_FIELDS)
    return found


async def _replay(connection: asyncpg.Connection) -> tuple[Registry, dict[str, Session], list[str]]:
    registry = Registry()
    sessions: dict[str, Session] = {}
    found = []
    remains = Remains(connection, AGENT_GATEWAY, _BEGINS, AGENT_EVENTS | _SESSION_EVENTS)
    for snapshot in await remains.snapshots():
        if isinstance(snapshot, AgentSnapshot):
            registry.agents[snapshot.agent_id] = kept_agent(snapshot)
        elif isinstance(snapshot, SessionSnapshot):
            sessions[snapshot.session_id] = kept_session(snapshot)
    async for seq, event in remains.events():
        try:
            if isinstance(event, SessionCreated):
                sessions[event.session_id] = created(event)
            elif isinstance(event, SessionEvent):
                apply(sessions[event.session_id], event)
            elif isinstance(event, SessionRemoved):
                sessions.pop(event.session_id, None)
            else:
                registry.evolve(event)
        except (IllegalTransition, states.IllegalTransition) as error:
            found.append(f"event {seq} of {event.entity} {event.entity_id}: {error}")
    return registry, sessions, found + remains.found


def _compare(kind: str, name: str, folded: Any, stored: Any, parts: tuple[str, ...]) -> list[str]:
    if folded is None or stored is None:
        return [f"{kind} {name}: {'no event' if folded is None else 'no row'}"]
    return [
        f"{kind} {name}: {part} is {getattr(stored, part)!r}, its events say {getattr(folded, part)!r}"
        for part in parts
        if getattr(folded, part) != getattr(stored, part)
    ]


_BEGINS = {"agent": "agent.spawned", "session": "session.created"}
_SESSION_EVENTS = frozenset(event.type for event in EVENTS) | {SessionRemoved.type}
_AGENT_FIELDS = tuple(field.name for field in fields(Agent))
_SESSION_FIELDS = Session.__struct_fields__
