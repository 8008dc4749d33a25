"""Following what happens: the stored history, joined with live events without a gap or a repeat.

Live events are only as good as the connection. History fills what was missed, and each writer's numbers tell what was
seen before.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from hivewire import codec, paging, reads
from hivewire.connection import Connection, Listening
from hivewire.envelope import Envelope
from hivewire.errors import RefusedError
from hivewire.subjects import BROKER, as_token
from hivewire.views import TERMINAL, EventView

REREAD_S = 10.0
"""After this silence history is read again, should a live event have been lost."""
POLL_S = 1.0
"""The same where the credentials may not listen to events."""
PAGE = 200
HEARD_BYTES_MAX = 4 * 1024 * 1024
"""Live events that wait for a reader who is slower than they come; then history has them, at the reader's pace."""
OVERLAP = timedelta(seconds=5)
"""Of two writers one may commit later what happened earlier: so far back history is read again."""

REOPENED = "task.reopened"
ENDED = frozenset(f"task.{status}" for status in TERMINAL)


def stored(
    connection: Connection, query: reads.ListEvents, at_most: int | None = None, service: str = BROKER
) -> AsyncIterator[EventView]:
    """The history that a query asks for, page after page."""
    return paging.items(connection, service, "events", query, EventView, at_most)


async def of_task(connection: Connection, task_id: str) -> AsyncIterator[EventView]:
    """The events of one task from its beginning, until it has ended. A task that was opened again goes on.

    Raises:
        RefusedError: there is no such task.
    """
    query = reads.ListEvents(type="task", entity_id=task_id, limit=PAGE)
    known = ended = False
    async with _live(connection, query) as live:
        async for event in live.events(query):
            if event is not None:
                known, ended = True, event.type in ENDED or (ended and event.type != REOPENED)
                yield event
            elif ended:
                return
            elif not known:
                await connection.read(BROKER, "task", reads.OneTask(task_id), msgspec.Raw)
                known = True
            if ended and live.caught_up:
                return


async def follow(
    connection: Connection, query: reads.ListEvents, service: str = BROKER
) -> AsyncGenerator[EventView, None]:
    """The events that a query asks for, from its `since` on and for as long as they are asked for.

    Any service can be asked for history: all of them answer it alike.
    """
    async with _live(connection, query, service) as live:
        async for event in live.events(query):
            if event is not None:
                yield event


def event_view(body: bytes) -> EventView | None:
    """A live event as history shows it; None: the message is no event."""
    envelope = codec.decode_envelope(body)
    if not isinstance(envelope, Envelope) or envelope.seq is None or envelope.time is None:
        return None
    return EventView(
        id=envelope.id,
        seq=envelope.seq,
        writer=envelope.source.rpartition("/")[2],
        type=envelope.type,
        entity_id=envelope.subject or "",
        time=envelope.time,
        causationid=envelope.causationid,
        correlationid=envelope.correlationid,
        data=envelope.data,
    )


@dataclass(slots=True)
class _Live:
    """Live events as they come in, and what history has of those that did not."""

    connection: Connection
    service: str
    listening: Listening | None = None
    caught_up: bool = False
    """Whether the stored history was read to its end, so that the last event seen is the last there was."""
    _heard: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    _heard_bytes: int = 0
    _seen: dict[str, int] = field(default_factory=dict)
    _stale: bool = False

    def hear(self, _: str, body: bytes) -> None:
        """Take a live event. Where one may have predecessors that we missed history has both."""
        if self._stale:
            return
        if self._heard_bytes + len(body) > HEARD_BYTES_MAX:
            self.turn_stale()
            return
        self._heard_bytes += len(body)
        self._heard.put_nowait(body)

    def turn_stale(self) -> None:
        """Events are missed from now on: after those that were heard, history is read."""
        self._stale = True
        self._heard.put_nowait(None)

    async def events(self, query: reads.ListEvents) -> AsyncIterator[EventView | None]:
        """Stored events, then live ones. None: history was read to its end."""
        query = msgspec.structs.replace(query)
        while True:
            self._stale = self.caught_up = False
            # The subscription was there before: nothing falls between the two.
            async for event in stored(self.connection, query, service=self.service):
                if self._is_new(event):
                    query.since = event.time - OVERLAP
                    yield event
            self.caught_up = True
            yield None
            while (live := await self._next()) is not None:
                if self._is_new(live):
                    query.since = live.time - OVERLAP
                    yield live

    def _is_new(self, event: EventView) -> bool:
        if event.seq <= self._seen.get(event.writer, 0):
            return False
        self._seen[event.writer] = event.seq
        return True

    async def _next(self) -> EventView | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REREAD_S if self.listening else POLL_S):
                while (body := await self._heard.get()) is not None:
                    self._heard_bytes -= len(body)
                    if event := event_view(body):
                        return event
        return None


@contextlib.asynccontextmanager
async def _live(connection: Connection, query: reads.ListEvents, service: str = BROKER) -> AsyncIterator[_Live]:
    live = _Live(connection, service)
    with contextlib.suppress(RefusedError):  # then history alone is read, now and then
        live.listening = await connection.listen(_subject(connection, query), live.hear)
    connection.on_disconnect.append(live.turn_stale)
    try:
        yield live
    finally:
        connection.on_disconnect.remove(live.turn_stale)
        if live.listening:
            await live.listening.stop()


def _subject(connection: Connection, query: reads.ListEvents) -> str:
    event_type = query.type or "*.*"
    if "." not in event_type:
        event_type = f"{event_type}.*"
    return connection.subjects.events(event_type, as_token(query.entity_id) if query.entity_id else "*")
