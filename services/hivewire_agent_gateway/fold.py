"""Whether the table of agents is what the history adds up to."""

from dataclasses import fields

import asyncpg

from hivewire import codec
from hivewire.events import CATALOGUE
from hivewire.subjects import AGENT_GATEWAY
from hivewire_agent_gateway.registry import Agent, Registry
from hivewire_agent_gateway.rows import AGENT_EVENTS, SQL, read_agents
from hivewire_agent_gateway.states import IllegalTransition


async def differences(connection: asyncpg.Connection) -> list[str]:
    """Replay the gateway's events and compare; one line for each thing that differs, none when all is well."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        folded, found = await _replay(connection)
        stored = await read_agents(connection)
    for agent_id in sorted(folded.keys() | stored.keys()):
        found += _compare(agent_id, folded.get(agent_id), stored.get(agent_id))
    return found


async def _replay(connection: asyncpg.Connection) -> tuple[dict[str, Agent], list[str]]:
    registry = Registry()
    found = []
    async for row in connection.cursor(SQL.history, AGENT_GATEWAY, sorted(AGENT_EVENTS)):
        event = codec.decode_as(row["data"].encode(), CATALOGUE[row["type"]], row["type"])
        if isinstance(event, codec.Malformed):
            found.append(f"event {row['seq']}: {event.reason}")
            continue
        try:
            registry.evolve(event)
        except IllegalTransition as error:
            found.append(f"event {row['seq']} of agent {event.entity_id}: {error}")
    return registry.agents, found


def _compare(agent_id: str, folded: Agent | None, stored: Agent | None) -> list[str]:
    if folded is None or stored is None:
        return [f"agent {agent_id}: {'no event' if folded is None else 'no row'}"]
    return [
        f"agent {agent_id}: {field.name} is {getattr(stored, field.name)!r}, its events say {getattr(folded, field.name)!r}"
        for field in fields(Agent)
        if getattr(folded, field.name) != getattr(stored, field.name)
    ]
