"""The event stream: history as server-sent events, which go on where they were interrupted."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from hivewire import codec, fields, history, reads, views
from hivewire.errors import HivewireError, RefusedError
from hivewire.subjects import AGENT_GATEWAY
from hivewire_agent_gateway import metrics
from hivewire_agent_gateway.door.calls import Call

KEEP_ALIVE_S: Final = 15.0
STUCK_S: Final = 60.0
"""A reader that takes nothing for so long is let go. When it comes back, Last-Event-ID tells where it was."""


class Cursor(msgspec.Struct):
    """Where a stream was: the last event of each writer, and the time of the last one."""

    time: fields.Moment
    seqs: dict[str, int]


class StreamQuery(msgspec.Struct, omit_defaults=True):
    """Which events: `type` is a whole type or a category."""

    type: fields.Name | None = None
    entity_id: fields.Text | None = None
    since: fields.Moment | None = None


async def stream(call: Call) -> Response:
    """Server-sent events, from `since`, from where Last-Event-ID was, or from now on."""
    asked = call.parameters(StreamQuery)
    cursor = _cursor(call.headers)
    since = cursor.time if cursor else asked.since or datetime.now(UTC)
    query = reads.ListEvents(type=asked.type, entity_id=asked.entity_id, since=since)
    return EventStream(_frames(call, query, cursor))


class EventStream(StreamingResponse):
    """A stream that does not wait for ever for its reader."""

    def __init__(self, frames: AsyncIterator[bytes]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(frames, headers=headers, media_type="text/event-stream")

    async def stream_response(self, send: Send) -> None:
        async def send_in_time(message: Any) -> None:
            async with asyncio.timeout(STUCK_S):
                await send(message)

        metrics.STREAMS.inc()
        try:
            await super().stream_response(send_in_time)
        except TimeoutError:
            metrics.STREAMS_STUCK.inc()
        finally:
            metrics.STREAMS.dec()


async def _frames(call: Call, query: reads.ListEvents, cursor: Cursor | None) -> AsyncIterator[bytes]:
    """The stream's bytes. It ends with the door and with the caller's token, and where history cannot be read any more."""
    seqs = dict(cursor.seqs) if cursor else {}
    place = call.place
    ends = [asyncio.ensure_future(one) for one in (place.closing.wait(), place.callers.until_revoked(call.caller.id))]
    events = history.follow(place.line, query, AGENT_GATEWAY)
    coming = asyncio.ensure_future(anext(events))
    try:
        yield b": connected\n\n"
        while True:
            await asyncio.wait({coming, *ends}, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
            if any(end.done() for end in ends):
                return
            if not coming.done():
                yield b": keep-alive\n\n"
                continue
            event = coming.result()
            coming = asyncio.ensure_future(anext(events))
            if event.seq > seqs.get(event.writer, 0):
                seqs[event.writer] = event.seq
                yield _frame(event, Cursor(event.time, seqs))
    except HivewireError:
        return
    finally:
        # Nothing is awaited here, where a reader who has gone would cut it short. What is cancelled cleans up itself.
        for waiting in (coming, *ends):
            waiting.cancel()


def _frame(event: views.EventView, cursor: Cursor) -> bytes:
    mark = base64.urlsafe_b64encode(codec.encode(cursor))
    return b"id: " + mark + b"\nevent: " + event.type.encode() + b"\ndata: " + codec.encode(event) + b"\n\n"


def _cursor(headers: Mapping[str, str]) -> Cursor | None:
    """Where the stream was that Last-Event-ID is of.

    Raises:
        RefusedError: it was not given out (400).
    """
    text = headers.get("last-event-id")
    if not text:
        return None
    try:
        cursor = msgspec.json.decode(base64.urlsafe_b64decode(text.encode()), type=Cursor)
        # Of two writers one may commit later what happened earlier.
        return Cursor(cursor.time - history.OVERLAP, cursor.seqs)
    except (binascii.Error, msgspec.DecodeError, ValueError, OverflowError, RecursionError):
        raise RefusedError("Last-Event-ID is not one that was given out", 400) from None
