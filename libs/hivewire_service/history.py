"""Reads over the history and the rejects: every service answers them alike, for all of them."""

import base64
import contextlib
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from hivewire import reads
from hivewire.ids import event_id
from hivewire.views import EventView, Page, RejectView
from hivewire_service.answer import Query
from hivewire_service.core import Refusal
from hivewire_service.queries import load_queries

SQL = load_queries("hivewire_service.queries", "history.sql")


class Cursor(msgspec.Struct, array_like=True):
    """A place in the history."""

    recorded_at: datetime
    writer: str
    seq: int


def encode_cursor(place: object) -> str:
    """A place in a listing as an opaque text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def decode_cursor(text: str, kind: Any) -> Any:
    """The place that `encode_cursor` made a text of, or a `Refusal`."""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=kind)
    except (ValueError, msgspec.MsgspecError):
        return Refusal("the cursor is not one of this listing's; ask without it for the first page", 400)


async def events(connection: asyncpg.Connection, wanted: reads.ListEvents, _sender: str) -> Page | Refusal:
    """A page of the history."""
    cursor = decode_cursor(wanted.cursor, Cursor) if wanted.cursor else None
    if isinstance(cursor, Refusal):
        return cursor
    whole_type = wanted.type if wanted.type and "." in wanted.type else None
    category = f"{wanted.type}." if wanted.type and not whole_type else None
    rows = await connection.fetch(
        SQL.events_newest_first if wanted.newest_first else SQL.events_oldest_first,
        wanted.entity_id,
        whole_type,
        category,
        wanted.since,
        wanted.until,
        wanted.correlationid,
        cursor.recorded_at if cursor else None,
        cursor.writer if cursor else None,
        cursor.seq if cursor else None,
        wanted.limit,
    )
    hive = await connection.fetchval("SELECT current_schema()")
    items = [
        EventView(
            id=event_id(hive, row["writer"], row["seq"]),
            seq=row["seq"],
            writer=row["writer"],
            type=row["type"],
            entity_id=row["entity_id"],
            time=row["recorded_at"],
            causationid=row["causation_id"],
            correlationid=row["correlation_id"],
            data=msgspec.Raw(row["data"].encode()),
        )
        for row in rows
    ]
    last = rows[-1] if len(rows) == wanted.limit else None
    return Page(items, encode_cursor(Cursor(last["recorded_at"], last["writer"], last["seq"])) if last else None)


async def rejects(connection: asyncpg.Connection, wanted: reads.Listing, _sender: str) -> Page | Refusal:
    """A page of the rejects, newest first."""
    before = decode_cursor(wanted.cursor, int) if wanted.cursor else None
    if isinstance(before, Refusal):
        return before
    items = [_reject(row) for row in await connection.fetch(SQL.rejects, before, wanted.limit)]
    return Page(items, encode_cursor(items[-1].reject_id) if len(items) == wanted.limit else None)


async def reject(connection: asyncpg.Connection, wanted: reads.OneReject, _sender: str) -> RejectView | Refusal:
    """One reject, whole."""
    row = await connection.fetchrow(SQL.reject, wanted.reject_id)
    return _reject(row) if row else Refusal(f"there is no reject {wanted.reject_id}", 404)


def _reject(row: asyncpg.Record) -> RejectView:
    fields = dict(row)
    body: bytes = fields.pop("body")
    # No text that hivewire sends has a NUL in it, so it is not shown as one.
    if b"\0" not in body:
        with contextlib.suppress(UnicodeDecodeError):
            return RejectView(body=body.decode(), encoding="utf-8", **fields)
    return RejectView(body=base64.b64encode(body).decode(), encoding="base64", **fields)


READS = {
    "events": Query(reads.ListEvents, events),
    "rejects": Query(reads.Listing, rejects),
    "reject": Query(reads.OneReject, reject),
}
