"""Keeps replays in their table, and reads them."""

from collections.abc import Iterable, Mapping, Sequence

import asyncpg

from hivewire.events import Event
from hivewire.events.replay import ReplayEvent
from hivewire.reads import Listing, OneReplay
from hivewire.views import Page, ReplayView
from hivewire_broker.cursors import number
from hivewire_broker.replays import Replay, Replays
from hivewire_service.answer import Query
from hivewire_service.core import Refusal, Write
from hivewire_service.queries import load_queries

SQL = load_queries("hivewire_broker", "replays.sql")


def writes(replays: Replays, events: Sequence[Event]) -> Iterable[Write]:
    """The statement that makes the table equal to the state after `events`."""
    changed = dict.fromkeys(event.replay_id for event in events if isinstance(event, ReplayEvent))
    if changed:
        rows = [tuple(getattr(replays[replay_id], name) for name in Replay.__struct_fields__) for replay_id in changed]
        yield Write(SQL.write_replays, tuple(zip(*rows, strict=True)))


async def read(connection: asyncpg.Connection) -> Replays:
    """All replays, oldest first."""
    return {row["replay_id"]: Replay(**dict(row)) for row in await connection.fetch(SQL.load_replays)}


async def replay(connection: asyncpg.Connection, query: OneReplay, _sender: str) -> ReplayView | Refusal:
    """One replay, with how many dead letters are left for it."""
    row = await connection.fetchrow(SQL.replay, query.replay_id)
    return ReplayView(**dict(row)) if row else Refusal(f"there is no replay {query.replay_id!r}", 404)


async def replays(connection: asyncpg.Connection, query: Listing, _sender: str) -> Page | Refusal:
    """A page of replays, newest first."""
    given = number(query.cursor)
    if isinstance(given, Refusal):
        return given
    skipped = max(0, given or 0)
    rows = await connection.fetch(SQL.replays, skipped, query.limit + 1)
    views = [ReplayView(**dict(row)) for row in rows[: query.limit]]
    return Page(views, str(skipped + query.limit) if len(rows) > query.limit else None)


READS: Mapping[str, Query] = {"replay": Query(OneReplay, replay), "replays": Query(Listing, replays)}
