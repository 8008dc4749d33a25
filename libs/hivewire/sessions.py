"""Sessions as a client sees them: dispatched, listed, shown, given up."""

from collections.abc import AsyncIterator, Iterable

import msgspec

from hivewire import codec, limits, paging
from hivewire.commands.sessions import CancelSession, Dispatch, DispatchBatch
from hivewire.connection import Connection
from hivewire.errors import BadUsage, RefusedError
from hivewire.ids import new_id
from hivewire.reads import ListSessions, OneSession
from hivewire.subjects import AGENT_GATEWAY
from hivewire.views import SessionBatch, SessionBrief, SessionItem, SessionView

ITEM_OVERHEAD_BYTES = 256
"""What a session takes in a command beside its own JSON, generously."""


def listing(connection: Connection, query: ListSessions, at_most: int | None = None) -> AsyncIterator[SessionView]:
    """Sessions, newest first, page after page."""
    return paging.items(connection, AGENT_GATEWAY, "sessions", query, SessionView, at_most)


async def show(connection: Connection, session_id: str) -> SessionView:
    """One session, with what was asked and answered."""
    return await connection.read(AGENT_GATEWAY, "session", OneSession(session_id), SessionView)


async def cancel(connection: Connection, session_id: str, reason: str = "") -> SessionBrief:
    """Give a session up; its agent is told."""
    return await connection.command(AGENT_GATEWAY, "cancel", CancelSession(session_id, reason), SessionBrief)


async def dispatch_batch(
    connection: Connection, wanted: Iterable[Dispatch], max_concurrent: int = limits.SESSIONS_CONCURRENT
) -> list[SessionItem]:
    """Dispatch any number of sessions, of which `max_concurrent` of each thousand are open at a time.

    Returns:
        What became of each, in their order. What was refused keeps nobody else from being taken.
    """
    items: list[SessionItem] = []
    for chunk in _chunks(wanted, connection.message_bytes_max):
        batch = DispatchBatch(chunk, max_concurrent)
        reply = await connection.command(AGENT_GATEWAY, "dispatch_batch", batch, SessionBatch)
        for item in reply.items:
            items.append(msgspec.structs.replace(item, index=len(items)))
    return items


def from_line(line: bytes) -> Dispatch:
    """A session of a file, one JSON object a line.

    Raises:
        BadUsage: it is none.
    """
    found = codec.decode_as(line, Dispatch, "session")
    if isinstance(found, codec.Malformed):
        raise BadUsage(found.reason)
    return found


def _chunks(wanted: Iterable[Dispatch], bytes_max: int) -> Iterable[list[Dispatch]]:
    """As many sessions a command as fit. Each gets an id, so that repeating the command means the same sessions."""
    chunk: list[Dispatch] = []
    size = ITEM_OVERHEAD_BYTES
    for one in wanted:
        named = one if one.id else msgspec.structs.replace(one, id=new_id())
        needed = len(codec.encode(named)) + ITEM_OVERHEAD_BYTES
        if needed > bytes_max:
            raise RefusedError(f"the session is too large: {needed} bytes, {bytes_max} are allowed", 413)
        if chunk and (size + needed > bytes_max or len(chunk) == limits.BATCH_ITEMS_MAX):
            yield chunk
            chunk, size = [], ITEM_OVERHEAD_BYTES
        chunk.append(named)
        size += needed
    if chunk:
        yield chunk
