"""What agents are told after a commit: the work they got, and what is no longer theirs."""

from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import msgspec

from hivewire import codec, tracing
from hivewire.commands import command_type
from hivewire.commands.agent_gateway import Wake
from hivewire.envelope import Envelope
from hivewire.events import Event
from hivewire.events.task import (
    TaskAssigned,
    TaskCancelled,
    TaskCompleted,
    TaskCreated,
    TaskDeadLettered,
    TaskFailed,
    TaskUpdated,
)
from hivewire.ids import new_id
from hivewire.inbox import CANCEL, TASK, CancelAttempt, inbox_type
from hivewire.subjects import AGENT_GATEWAY, BROKER, Subjects
from hivewire_broker.core import Broker
from hivewire_broker.draft import Resend, TellCancel
from hivewire_broker.stored import created_of, dispatch_of
from hivewire_broker.waking import WakeAgent
from hivewire_service.core import Message
from hivewire_service.roles import RESERVED_NAMES, Role
from hivewire_service.topology import NANOSECONDS

CACHE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Contents of tasks that are kept at hand for their dispatch."""
_OVERHEAD_BYTES: Final = 1_500
"""What a task's content takes beside its long texts."""

_ENDS: Final = (TaskCompleted, TaskFailed, TaskDeadLettered, TaskCancelled)


class Contents:
    """What tasks say, most of them just created; the oldest are dropped when it gets too much."""

    def __init__(self, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._kept: dict[str, TaskCreated] = {}
        self._bytes = 0
        self._bytes_max = bytes_max

    def put(self, created: TaskCreated) -> None:
        """Keep the content of a task."""
        if created.task_id not in self._kept:
            self._kept[created.task_id] = created
            self._bytes += _size(created)
            while self._bytes > self._bytes_max:
                self._bytes -= _size(self._kept.pop(next(iter(self._kept))))

    def drop(self, task_id: str) -> None:
        """The task has ended, so that its content is hardly needed again, or has another content now."""
        created = self._kept.pop(task_id, None)
        if created is not None:
            self._bytes -= _size(created)

    def get(self, task_id: str) -> TaskCreated | None:
        """The content of a task, if it is at hand."""
        return self._kept.get(task_id)


class Dispatches:
    """Makes the messages to agents' inboxes."""

    def __init__(self, subjects: Subjects, contents_sql: str, broker: Broker) -> None:
        self._subjects = subjects
        self._broker = broker
        self._source = f"/{subjects.hive}/{BROKER}"
        self._contents_sql = contents_sql
        self._contents = Contents()

    async def messages(self, pool: asyncpg.Pool, events: Sequence[Event], records: Sequence[Any]) -> list[Message]:
        """Everything that follows from committed events and records."""
        for event in events:
            if isinstance(event, TaskCreated):
                self._contents.put(event)
            elif isinstance(event, (*_ENDS, TaskUpdated)):
                self._contents.drop(event.task_id)
        sends = [e for e in (*events, *records) if isinstance(e, (TaskAssigned, Resend))]
        fetched = await self._fetch_missing(pool, sends)
        messages = []
        for send in sends:
            created = self._contents.get(send.task_id) or fetched.get(send.task_id)
            if created is not None:
                messages.append(self._dispatch(created, send))
        messages += [self._cancel(record) for record in records if isinstance(record, TellCancel)]
        messages += [self._wake(record) for record in records if isinstance(record, WakeAgent)]
        return messages

    async def _fetch_missing(
        self, pool: asyncpg.Pool, sends: Sequence[TaskAssigned | Resend]
    ) -> dict[str, TaskCreated]:
        missing = sorted({send.task_id for send in sends if self._contents.get(send.task_id) is None})
        if not missing:
            return {}
        rows = await pool.fetch(self._contents_sql, missing)
        return {row["task_id"]: created_of(row) for row in rows}

    def _dispatch(self, created: TaskCreated, send: TaskAssigned | Resend) -> Message:
        task = self._broker.state.tasks[send.task_id]
        data = dispatch_of(created, task, task.attempts[send.attempt - 1])
        if tracing.enabled() and isinstance(send, TaskAssigned):
            labels: dict[str, str | int] = {"hivewire_task": send.task_id, "hivewire_attempt": send.attempt}
            assigned_ns = int(send.assigned_at.timestamp() * NANOSECONDS)
            data.traceparent = tracing.record("assign", created.traceparent, assigned_ns, **labels)
        return self._message(send.agent_id, TASK, f"{send.task_id}.{send.attempt}", data)

    def _cancel(self, tell: TellCancel) -> Message:
        data = CancelAttempt(tell.task_id, tell.attempt, tell.instance, tell.reason)
        return self._message(tell.agent_id, CANCEL, f"{tell.task_id}.{tell.attempt}.{CANCEL}", data)

    def _wake(self, record: WakeAgent) -> Message:
        """A command to the gateway. One that gets lost costs the task the time until it gives up."""
        sender = RESERVED_NAMES[Role.SERVICE]
        envelope = Envelope(
            id=new_id(),
            type=command_type(AGENT_GATEWAY, "wake"),
            source=self._source,
            data=codec.raw(Wake(record.agent_id, record.reason)),
        )
        return Message(self._subjects.command(AGENT_GATEWAY, "wake", sender), codec.encode(envelope))

    def _message(self, agent_id: str, kind: str, message_id: str, data: msgspec.Struct) -> Message:
        envelope = Envelope(id=message_id, type=inbox_type(kind), source=self._source, data=codec.raw(data))
        return Message(self._subjects.inbox(agent_id, kind), codec.encode(envelope))


def _size(created: TaskCreated) -> int:
    texts = len(created.description) + len(bytes(created.payload)) + len(bytes(created.metadata))
    return _OVERHEAD_BYTES + texts
