"""Between the registry and its table, and what is said to agents after a commit."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from hivewire import codec
from hivewire.commands.agent_gateway import Publish
from hivewire.envelope import Envelope
from hivewire.events import Event, ForeignEvent
from hivewire.events.agent import AgentDeleted, AgentSpawned, Card
from hivewire.ids import new_id
from hivewire.inbox import REPLACED, SYNC, Replaced, Sync, inbox_type
from hivewire.subjects import AGENT_GATEWAY, Subjects
from hivewire_agent_gateway.beats import Tell
from hivewire_agent_gateway.core import AgentGateway
from hivewire_agent_gateway.publish import key_of
from hivewire_agent_gateway.registry import Agent
from hivewire_agent_gateway.states import TRANSITIONS, Presence
from hivewire_service.core import Command, Message, Write
from hivewire_service.queries import load_queries

SQL = load_queries("hivewire_agent_gateway", "queries.sql")

AGENT_EVENTS = frozenset(event_type for events in TRANSITIONS.values() for event_type in events)
_KINDS: Mapping[type[Replaced | Sync], str] = {Replaced: REPLACED, Sync: SYNC}
_labels = msgspec.json.Decoder(dict[str, str])


class AgentRows:
    """Keeps the core's registry in the table `agent`."""

    def __init__(self, core: AgentGateway, subjects: Subjects) -> None:
        self._core = core
        self._subjects = subjects

    async def load_for(self, connection: asyncpg.Connection, commands: Sequence[Command], now: datetime) -> None:
        """Of the events to publish, those that are in history already. Every agent is in memory."""
        del now
        keys = sorted({key_of(command) for command in commands if isinstance(command.data, Publish)})
        if keys:
            rows = await connection.fetch(SQL.find_foreign_events, *zip(*keys, strict=True))
            self._core.recorded.begin({(row["publisher"], row["event_id"]) for row in rows})

    def writes(
        self,
        events: Sequence[Event],
        records: Sequence[Any],  # noqa: ARG002
        now: datetime,
    ) -> Iterable[Write]:
        """The agents that changed, those that are gone, and by what events from outside are recognised."""
        changed = {event.entity_id for event in events if event.type in AGENT_EVENTS}
        agents = self._core.registry.agents
        kept = sorted(changed & agents.keys())
        gone = sorted(changed - agents.keys())
        if kept:
            columns = zip(*(_row(agent_id, agents[agent_id]) for agent_id in kept), strict=True)
            yield Write(SQL.write_agents, tuple(columns))
        if gone:
            yield Write(SQL.delete_agents, (gone,))
        foreign = [(event.publisher, event.event_id) for event in events if isinstance(event, ForeignEvent)]
        if foreign:
            yield Write(SQL.insert_foreign_events, (now, *zip(*foreign, strict=True)))

    async def messages(
        self,
        connection: asyncpg.Pool,  # noqa: ARG002
        events: Sequence[Event],
        records: Sequence[Any],
    ) -> Iterable[Message]:
        """What instances must hear: that they were replaced or removed, or that they have to register again."""
        tells = [tell for tell in map(_tell, events) if tell]
        tells += [record for record in records if isinstance(record, Tell)]
        return [self._message(tell) for tell in tells]

    def _message(self, tell: Tell) -> Message:
        kind = _KINDS[type(tell.message)]
        envelope = Envelope(
            id=new_id(),
            type=inbox_type(kind),
            source=f"/{self._subjects.hive}/{AGENT_GATEWAY}",
            data=codec.raw(tell.message),
        )
        return Message(self._subjects.inbox(tell.agent_id, kind), codec.encode(envelope))


def _tell(event: Event) -> Tell | None:
    match event:
        case AgentSpawned(replaces=str()):
            return Tell(event.agent_id, Replaced(event.instance))
        case AgentDeleted(instance=str()):
            # No instance speaks for a removed agent, so the present one stops like a replaced one.
            return Tell(event.agent_id, Replaced(""))
        case _:
            return None


async def read_agents(connection: asyncpg.Connection) -> dict[str, Agent]:
    """All agents that Postgres holds."""
    return {row["agent_id"]: _agent(row) for row in await connection.fetch(SQL.load_agents)}


def _row(agent_id: str, agent: Agent) -> tuple[Any, ...]:
    card = agent.card
    return (
        agent_id,
        card.name,
        card.agent_type,
        card.endpoint_url,
        agent.presence.value,
        agent.drained,
        _json(card.capabilities),
        card.slots,
        card.owner,
        card.policy,
        _json(card.labels),
        codec.text(card.metadata),
        agent.instance,
        _json(agent.replaced),
        agent.registered_at,
        agent.changed_at,
        card.answers_while_busy,
        card.wake,
    )


def _json(value: object) -> str:
    return codec.encode(value).decode()


def _agent(row: asyncpg.Record) -> Agent:
    card = Card(
        name=row["name"],
        agent_type=row["agent_type"],
        endpoint_url=row["endpoint_url"],
        capabilities=row["capabilities"],
        slots=row["slots"],
        owner=row["owner"],
        policy=row["policy"],
        labels=_labels.decode(row["labels"]),
        metadata=msgspec.Raw(row["metadata"]),
        answers_while_busy=row["answers_while_busy"],
        wake=row["wake"],
    )
    return Agent(
        card=card,
        presence=Presence(row["state"]),
        instance=row["instance"],
        registered_at=row["registered_at"],
        changed_at=row["changed_at"],
        drained=row["drained"],
        replaced=tuple(row["replaced_instances"]),
    )
