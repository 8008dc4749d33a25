"""Between the sessions and their table, and what their agents are sent after a commit."""

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from hivewire import codec, inbox
from hivewire.commands.sessions import VERBS
from hivewire.envelope import Envelope
from hivewire.events import Event
from hivewire.events.session import SessionCreated, SessionEvent, SessionIdle
from hivewire.subjects import AGENT_GATEWAY, Subjects
from hivewire_agent_gateway.core import AgentGateway
from hivewire_agent_gateway.rows import SQL
from hivewire_agent_gateway.sessions.records import Halt, Send
from hivewire_agent_gateway.sessions.session import Session
from hivewire_agent_gateway.sessions.sessions import Sessions
from hivewire_service.core import Command, Message, Write

_sessions = msgspec.json.Decoder(Session)
_NO_TEXTS = {"content": "", "context": "", "response": None, "usage": None}


async def load_sessions(connection: asyncpg.Connection) -> Sessions:
    """The sessions that have something before them."""
    rows = await connection.fetch(SQL.load_sessions)
    last_ordinal = await connection.fetchval(SQL.last_session_ordinal)
    return Sessions((_sessions.decode(row["session"]) for row in rows), last_ordinal)


async def read_sessions(connection: asyncpg.Connection, ids: Sequence[str] | None = None) -> list[Session]:
    """Sessions as they are stored; all of them without `ids`."""
    return [_sessions.decode(row["session"]) for row in await connection.fetch(SQL.recall_sessions, ids)]


def named(commands: Sequence[Command]) -> set[str]:
    """The sessions that commands are about."""
    ids: set[str] = set()
    for command in commands:
        if command.verb == "dispatch_batch":
            ids.update(one.id or f"{command.id}-{index}" for index, one in enumerate(command.data.sessions))
        elif command.verb == "dispatch":
            ids.add(command.data.id or command.id)
        elif command.verb in VERBS:
            ids.add(command.data.session_id)
    return ids


def write_sessions(core: AgentGateway, events: Sequence[Event]) -> Write | None:
    """One upsert of all sessions that changed. Texts are written with the event that brings them."""
    texts: dict[str, dict[str, Any]] = {}
    for event in events:
        if not isinstance(event, SessionEvent):
            continue
        kept = texts.setdefault(event.session_id, {})
        if isinstance(event, SessionCreated):
            kept |= {"content": codec.text(event.content), "context": codec.text(event.context)}
        elif isinstance(event, SessionIdle):
            kept |= {"response": codec.text(event.response), "usage": codec.text(event.usage)}
    if not texts:
        return None
    rows = [
        msgspec.structs.asdict(core.sessions.by_id[session_id]) | _NO_TEXTS | kept for session_id, kept in texts.items()
    ]
    return Write(SQL.write_sessions, (codec.encode(rows).decode(),))


class Sender:
    """Makes the messages that bring dispatches to agents' connections and to doors."""

    def __init__(self, core: AgentGateway, subjects: Subjects) -> None:
        self._core = core
        self._subjects = subjects
        self._source = f"/{subjects.hive}/{AGENT_GATEWAY}"

    async def messages(self, pool: asyncpg.Pool, records: Sequence[Any]) -> list[Message]:
        """Everything that is to be sent."""
        sends = {record.session_id: record for record in records if isinstance(record, Send)}
        found: list[asyncpg.Record] = []
        if sends:
            found = await pool.fetch(SQL.session_contents, list(sends))
        messages = [self._dispatch(row, sends[row["session_id"]]) for row in found]
        return messages + [self._halt(record) for record in records if isinstance(record, Halt)]

    def _dispatch(self, row: asyncpg.Record, send: Send) -> Message:
        message_id = f"{row['session_id']}.{row['attempt']}"
        data = inbox.SessionDispatch(
            message_id=message_id,
            session_id=row["session_id"],
            attempt=row["attempt"],
            agent_id=row["agent_id"],
            instance=row["instance"],
            content=msgspec.Raw(row["content"].encode()),
            context=msgspec.Raw(row["context"].encode()),
            timeout_seconds=row["timeout_seconds"],
            endpoint_url=self._endpoint(row["agent_id"]),
            task_id=row["task_id"],
            task_attempt=row["task_attempt"],
        )
        subjects = self._subjects
        to_agent = send.door_id is None
        subject = (
            subjects.inbox(row["agent_id"], inbox.DISPATCH)
            if to_agent
            else subjects.door(str(send.door_id), inbox.DISPATCH)
        )
        return self._message(subject, inbox.DISPATCH, message_id, data)

    def _halt(self, halt: Halt) -> Message:
        endpoint_url = self._endpoint(halt.agent_id)
        data = inbox.HaltSession(halt.message_id, halt.session_id, halt.agent_id, halt.reason, endpoint_url)
        # Any door may know the post of an HTTP agent, so all of them hear it.
        subject = (
            self._subjects.inbox(halt.agent_id, inbox.HALT)
            if endpoint_url is None
            else self._subjects.door("all", inbox.HALT)
        )
        return self._message(subject, inbox.HALT, f"{halt.message_id}.{inbox.HALT}", data)

    def _endpoint(self, agent_id: str) -> str | None:
        agent = self._core.registry.get(agent_id)
        return agent.card.endpoint_url if agent else None

    def _message(self, subject: str, kind: str, message_id: str, data: msgspec.Struct) -> Message:
        envelope = Envelope(id=message_id, type=inbox.inbox_type(kind), source=self._source, data=codec.raw(data))
        return Message(subject, codec.encode(envelope))
