"""All that the gateway's core is kept in, and all that follows from a commit."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol

import asyncpg

from hivewire.events import Event
from hivewire.events.kept import SessionRemoved
from hivewire.subjects import Subjects
from hivewire_agent_gateway.core import AgentGateway
from hivewire_agent_gateway.rows import SQL, AgentRows, read_agents
from hivewire_agent_gateway.session_rows import Sender, load_sessions, named, read_sessions, write_sessions
from hivewire_service.core import Command, Message, Write


class Aftermath(Protocol):
    """Is told what a commit made true, before anybody outside is."""

    def reset(self) -> None:
        """Forget everything: the state is loaded anew."""

    async def committed(self, events: Sequence[Event], records: Sequence[Any]) -> None:
        """These events happened; these records follow from them."""


class GatewayRows:
    """Agents and sessions."""

    def __init__(self, core: AgentGateway, subjects: Subjects, aftermath: Aftermath) -> None:
        self._core = core
        self._agents = AgentRows(core, subjects)
        self._sender = Sender(core, subjects)
        self._aftermath = aftermath

    async def load(self, connection: asyncpg.Connection, now: datetime) -> None:
        """Replace the core's state by what Postgres holds."""
        self._aftermath.reset()
        self._core.restore(await read_agents(connection), await load_sessions(connection), now)

    async def load_for(self, connection: asyncpg.Connection, commands: Sequence[Command], now: datetime) -> None:
        """Remember the ended sessions that commands name, and the events from outside that they repeat."""
        await self._agents.load_for(connection, commands, now)
        missing = [session_id for session_id in named(commands) if self._core.sessions.get(session_id) is None]
        if missing:
            self._core.recall(await read_sessions(connection, missing))

    def writes(self, events: Sequence[Event], records: Sequence[Any], now: datetime) -> Iterable[Write]:
        """The statements that make the tables equal to the state after `events`."""
        yield from self._agents.writes(events, records, now)
        sessions = write_sessions(self._core, events)
        if sessions is not None:
            yield sessions
        removed = [event.session_id for event in events if isinstance(event, SessionRemoved)]
        if removed:
            yield Write(SQL.delete_sessions, (removed,))

    async def messages(
        self, connection: asyncpg.Pool, events: Sequence[Event], records: Sequence[Any]
    ) -> Iterable[Message]:
        """What agents and doors must hear."""
        await self._aftermath.committed(events, records)
        about_agents = await self._agents.messages(connection, events, records)
        return [*about_agents, *await self._sender.messages(connection, records)]
