"""History over HTTP: pages of it, and a stream that goes on where it was interrupted."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Awaitable
from datetime import datetime
from typing import Final

import msgspec
from starlette.responses import Response, StreamingResponse

from hivewire import codec, history, reads, views
from hivewire.commands import CATALOGUE
from hivewire.errors import HivewireError, RefusedError
from hivewire.subjects import AGENT_GATEWAY
from hivewire_agent_gateway.door.calls import Call, Route, json_response
from hivewire_agent_gateway.door.plain import API, commanding

KEEP_ALIVE_S: Final = 15.0
WAITING_MAX: Final = 1_000
"""Events that wait for a slow reader; beyond it they wait where they come from."""


class Cursor(msgspec.Struct):
    """Where a stream was: the last event of each writer, and the time of the last one."""

    time: datetime
    seqs: dict[str, int]


class StreamQuery(msgspec.Struct, omit_defaults=True):
    """Which events: `type` is a whole type or a category."""

    type: str | None = None
    entity_id: str | None = None
    since: datetime | None = None


async def listing(call: Call) -> Response:
    """A page of history."""
    query = call.parameters(reads.ListEvents)
    return json_response(await call.read(AGENT_GATEWAY, "events", query))


async def stream(call: Call) -> Response:
    """Server-sent events, from `since`, from where Last-Event-ID was, or from now on."""
    asked = call.parameters(StreamQuery)
    cursor = _cursor(call.headers.get("last-event-id"))
    since = cursor.time - history.OVERLAP if cursor else asked.since
    query = call_query(asked, since)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_lines(call, query, cursor), headers=headers, media_type="text/event-stream")


def call_query(asked: StreamQuery, since: datetime | None) -> reads.ListEvents:
    """The read that a stream follows."""
    if since is None:
        since = datetime.now().astimezone()
    elif since.tzinfo is None:
        raise RefusedError("since needs an offset, such as 2026-05-01T12:00:00Z", 400)
    return reads.ListEvents(type=asked.type, entity_id=asked.entity_id, since=since)


async def _lines(call: Call, query: reads.ListEvents, cursor: Cursor | None) -> AsyncIterator[bytes]:
    seqs = dict(cursor.seqs) if cursor else {}
    waiting: asyncio.Queue[views.EventView | None] = asyncio.Queue(WAITING_MAX)

    async def follow() -> None:
        try:
            async for event in history.follow(call.place.line, query, AGENT_GATEWAY):
                await waiting.put(event)
        except HivewireError:
            await waiting.put(None)

    async def end(reason: Awaitable[object]) -> None:
        await reason
        await waiting.put(None)

    place = call.place
    reasons = (place.closing.wait(), place.callers.until_revoked(call.caller.id))
    tasks = [asyncio.create_task(one) for one in (follow(), *map(end, reasons))]
    try:
        yield b": connected\n\n"
        while True:
            try:
                event = await asyncio.wait_for(waiting.get(), KEEP_ALIVE_S)
            except TimeoutError:
                yield b": keep-alive\n\n"
                continue
            if event is None:
                return
            if event.seq <= seqs.get(event.writer, 0):
                continue
            seqs[event.writer] = event.seq
            yield _frame(event, Cursor(event.time, seqs))
    finally:
        for task in tasks:
            task.cancel()


def _frame(event: views.EventView, cursor: Cursor) -> bytes:
    mark = base64.urlsafe_b64encode(codec.encode(cursor))
    return b"id: " + mark + b"\nevent: " + event.type.encode() + b"\ndata: " + codec.encode(event) + b"\n\n"


def _cursor(text: str | None) -> Cursor | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text.encode()), type=Cursor)
    except (binascii.Error, msgspec.DecodeError, ValueError):
        raise RefusedError("Last-Event-ID is not one that was given out", 400) from None


ROUTES = [
    Route(
        "GET",
        f"{API}/events",
        "History, oldest first",
        listing,
        parameters=reads.ListEvents,
        answer=views.Page,
        tag="events",
    ),
    Route(
        "GET",
        f"{API}/events/stream",
        "Events as they happen, as server-sent events",
        stream,
        parameters=StreamQuery,
        tag="events",
    ),
    *(
        Route(
            "POST",
            f"{API}/events",
            "Publish an event of another service",
            commanding(AGENT_GATEWAY, "publish"),
            body=CATALOGUE[AGENT_GATEWAY]["publish"],
            tag="events",
        )
        for _ in ("publish",)
        if "publish" in CATALOGUE[AGENT_GATEWAY]
    ),
]
