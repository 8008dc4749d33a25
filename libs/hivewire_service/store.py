"""Postgres: the connections of a service and its unit of work.

A commit is one statement, and so one round trip: every write is a part of it, and its last act is to lock the lease row
at the owner's own epoch. Where that fails, nothing was written.
"""

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import asyncpg
import msgspec
import structlog

from hivewire_service import metrics
from hivewire_service.core import Kept, Write
from hivewire_service.joined_columns import joined
from hivewire_service.postgres import CONNECT_ERRORS, failure
from hivewire_service.queries import load_queries
from hivewire_service.same_values import sent_once

SQL = load_queries("hivewire_service.queries", "chassis.sql")
log = structlog.get_logger()

IDLE_IN_TRANSACTION_MS = 1_000
"""A transaction that others wait for, and whose client is paused or gone, is ended by Postgres after this long."""
IDLE_IN_TRANSACTION_MS_MAX = 10_000
"""The same for one that may talk to somebody else meanwhile."""
CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 30.0
TURN_TIMEOUT_S = 10.0
"""What a turn asks of Postgres takes milliseconds. Where no answer comes for so long, the connection leads nowhere."""
_KEEPALIVE = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""Seconds, seconds and times: what a client holds that is gone without a word is let go after half a minute, not two hours."""
DROP_LOCK_MS = 200
LEASE_OVER = "HW001"
"""SQLSTATE of `hold_lease`."""
CONNECTION_ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    TimeoutError,
)
_DISTURBED = "cannot switch to state"
"""How asyncpg says that Postgres took its leave of a connection between two steps of a statement."""

# Connection, transaction rollback, resources, lock, operator, system: the database's troubles, not the batch's.
_PASSING_SQLSTATES = ("08", "25", "40", "53", "55", "57", "58")
PARTITION_DAYS_AHEAD = 7


class Fenced(Exception):
    """The lease is no longer ours: somebody else owns the service, and nothing was written."""


def is_passing(error: BaseException) -> bool:
    """Whether an error says something about the connection or the server, and nothing about what was written."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_PASSING_SQLSTATES)
    if isinstance(error, asyncpg.InternalClientError):
        return str(error).startswith(_DISTURBED)
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)
    return isinstance(error, (OSError, TimeoutError, Fenced))


@dataclass(slots=True)
class Position:
    """Where a service stands: in its command stream, in its events, and in what of them is on the bus."""

    stream_created: str | None = None
    command_seq: int = 0
    command_ns: int = 0
    event_seq: int = 0
    published_seq: int = 0
    event_stream_created: str | None = None


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """An event with its number, encoded once for the row and for the bus."""

    seq: int
    type: str
    entity_id: str
    data: bytes
    recorded_at: datetime
    causation_id: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The reply to a command, kept for its repeats."""

    command_id: str
    sender: str
    reply_type: str
    reply: bytes


class Reject(msgspec.Struct, gc=False):
    """A message that was refused, or the `count` of those that a sender's flood had within a `minute`, with the first of
    them; see `audit.py`."""

    subject: str
    sender: str
    reason: str
    body: bytes
    kind: Kept = Kept.MESSAGE
    count: int = 1
    minute: datetime | None = None


@dataclass(slots=True)
class Unit:
    """All that one commit makes true."""

    at: datetime
    position: Position
    writes: Sequence[Write] = ()
    events: list[StoredEvent] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


_PARAMETER = re.compile(r"\$(\d+)")


def as_one(writes: Iterable[Write], last: Write) -> Write:
    """Many statements as one: each write a common table expression, and `last` what is selected.

    All of them see the tables as they were before, so no two may change the same row.
    """
    parts: list[str] = []
    arguments: list[Any] = []
    for write in writes:
        parts.append(f"write_{len(parts)} AS (\n{_renumbered(write.sql, len(arguments))}\n)")
        arguments += write.arguments
    sql = _renumbered(last.sql, len(arguments))
    return Write(f"WITH {', '.join(parts)}\n{sql}" if parts else sql, (*arguments, *last.arguments))


@cache
def _renumbered(sql: str, offset: int) -> str:
    return _PARAMETER.sub(lambda parameter: f"${int(parameter[1]) + offset}", sql)


def storable(text: str) -> str:
    """`text` as Postgres can keep it; only used where bytes of unknown origin become a text for people."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


class Store:
    """The connections of one service: one for commits, a small pool for reads."""

    def __init__(self, dsn: str, hive: str, service: str) -> None:
        self._dsn = dsn
        self._hive = hive
        self.service = service
        self.pool: asyncpg.Pool
        self._owner: asyncpg.Connection | None = None
        self._reader: asyncpg.Connection | None = None

    async def open(self) -> None:
        """Connect the pool.

        Raises:
            NotReachable: Postgres does not answer or refuses the credentials, or TLS says not to talk to it.
            BadUsage: the DSN cannot be used.
        """
        try:
            self.pool = await asyncpg.create_pool(
                self._dsn,
                min_size=1,
                max_size=4,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=COMMAND_TIMEOUT_S,
                server_settings=self._session(),
            )
        except CONNECT_ERRORS as error:
            raise failure(error, self._dsn) from error

    async def close(self) -> None:
        """Close all connections, at once if need be."""
        await self.drop_owner()
        self.pool.terminate()

    def _session(self) -> dict[str, str]:
        return {
            "search_path": self._hive,
            "application_name": f"hivewire {self.service}",
            "timezone": "UTC",
            "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS_MAX),
            **_KEEPALIVE,
        }

    async def connect(self, **settings: str) -> asyncpg.Connection:
        """A connection of one's own, outside the pool."""
        return await asyncpg.connect(
            self._dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            max_cacheable_statement_size=0,
            server_settings=self._session() | settings,
        )

    async def owner(self) -> asyncpg.Connection:
        """The connection of the owner's commits, and of what it loads and reads between them."""
        if self._owner is None or self._owner.is_closed():
            # Its statements name rows by their keys. Tables that grew since they were last analysed tempt the planner to
            # read them whole, for a batch of updates.
            self._owner = await self.connect(
                idle_in_transaction_session_timeout=str(IDLE_IN_TRANSACTION_MS), enable_seqscan="off"
            )
        return self._owner

    async def reader(self) -> asyncpg.Connection:
        """The connection of what the owner reads for deciding, also while its commit is under way."""
        if self._reader is None or self._reader.is_closed():
            self._reader = await self.connect(enable_seqscan="off")
        return self._reader

    async def drop_owner(self) -> None:
        """Forget the owner's connections: what the one did last is unknown."""
        for connection in (self._owner, self._reader):
            if connection is not None:
                connection.terminate()
        self._owner = self._reader = None

    async def connect_anew(self, *, at_once: bool = True) -> None:
        """Let everything that is asked from now on have a new connection: those that stand may lead nowhere. `at_once`: what
        is asked over them now is given up, else it holds its place in the pool until its time is up, and the lease waits."""
        await self.drop_owner()
        await self.pool.expire_connections()
        if at_once:
            for holder in self.pool._holders:  # type: ignore[attr-defined]  # noqa: SLF001  # ends them only with the pool
                holder.terminate()

    async def add_event_partitions(self, now: datetime) -> None:
        """Make the partitions of the days to come. Every service may call it at any time."""
        async with self._changing_partitions() as connection:
            first = now.date() - timedelta(days=1)
            for day in (first + timedelta(days=n) for n in range(PARTITION_DAYS_AHEAD + 2)):
                # Nothing is ever updated there, and whole days are dropped: vacuuming what was only inserted, again and
                # again through the day, would write each page to the WAL for nothing.
                await connection.execute(
                    f"CREATE TABLE IF NOT EXISTS event_{day:%Y%m%d} PARTITION OF event "
                    f"FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}') "
                    "WITH (autovacuum_vacuum_insert_threshold = -1)"
                )

    async def drop_history(self) -> None:
        """Drop the days of history that no service needs any more and that are on the bus. Any service may do it.

        Raises:
            asyncpg.LockNotAvailableError: somebody reads the history at the moment; that day was not dropped.
        """
        for part in await self._unneeded_days():
            async with self._changing_partitions() as connection:
                # Whoever commits while a day is dropped waits no longer than this.
                await connection.execute(f"SET LOCAL lock_timeout = {DROP_LOCK_MS}")
                await connection.execute(f"DROP TABLE IF EXISTS {part['relname']}")
            log.info("dropped a day of history", day=f"{part['first']:%Y-%m-%d}", service=self.service)

    async def _unneeded_days(self) -> list[asyncpg.Record]:
        """The partitions that no service needs any more and that are on the bus, oldest first. None is needed again."""
        positions = await self.pool.fetch(SQL.positions)
        needed = [row["history_from"] for row in positions]
        if not needed or None in needed:
            return []
        parts = await self.pool.fetch(SQL.partitions)
        # Without bounds: one that somebody drops at the moment.
        old = [part for part in parts if part["until"] is not None and part["until"] <= min(needed)]
        for number, part in enumerate(old):
            for row in positions:
                if await self.pool.fetchval(SQL.last_seq_before, row["service"], part["until"]) > row["published_seq"]:
                    return old[:number]
        return old

    @asynccontextmanager
    async def _changing_partitions(self) -> AsyncIterator[Any]:
        """A transaction that has the partitions of the history to itself. Where its link dies, Postgres ends it soon, for
        everybody else waits for it meanwhile. Only statements without arguments may be sent in it: those go out in one
        piece, while one of two pieces whose link dies between them is not idle to Postgres, and lasts."""
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_MS}")
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"{self._hive} event partitions")
            yield connection

    async def read_position(self, connection: asyncpg.Connection) -> Position:
        """The committed position; a new service starts at nothing."""
        await connection.execute(SQL.add_position, self.service)
        row = await connection.fetchrow(SQL.read_position, self.service)
        assert row is not None
        return Position(**row)

    async def known_outcomes(
        self, connection: asyncpg.Connection, commands: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], Outcome]:
        """Stored outcomes by (command id, sender), of those given."""
        ids, senders = zip(*commands, strict=True)
        rows = await connection.fetch(SQL.find_outcomes, self.service, ids, senders)
        return {
            (row["command_id"], row["sender"]): Outcome(
                row["command_id"], row["sender"], row["reply_type"], row["reply"].encode()
            )
            for row in rows
        }

    def statement(self, epoch: int, unit: Unit) -> Write:
        """What makes `unit` true, if the lease has this epoch."""
        writes = [*joined(sent_once(unit.writes)), *joined(sent_once(self._history(unit)))]
        return as_one([*writes, self._position(unit.position)], Write(SQL.hold_lease, (self.service, epoch)))

    async def execute(self, epoch: int, statement: Write) -> None:
        """Commit the statement of a unit, whole or not at all.

        Raises:
            Fenced: the lease has another epoch.
        """
        connection = await self.owner()
        try:
            await connection.execute(statement.sql, *statement.arguments, timeout=TURN_TIMEOUT_S)
        except asyncpg.PostgresError as error:
            if error.sqlstate == LEASE_OVER:
                metrics.COMMITS_FENCED.labels(self.service).inc()
                log.warning("commit refused: another owner has the lease", service=self.service, epoch=epoch)
                raise Fenced(str(error)) from error
            raise

    def _position(self, position: Position) -> Write:
        return Write(
            SQL.write_position,
            (
                self.service,
                position.stream_created,
                position.command_seq,
                position.command_ns,
                position.event_seq,
                position.published_seq,
                position.event_stream_created,
            ),
        )

    def _history(self, unit: Unit) -> Iterator[Write]:
        if unit.events:
            columns = zip(
                *(
                    (e.seq, e.type, e.entity_id, e.causation_id, e.correlation_id, e.traceparent, e.data.decode())
                    for e in unit.events
                ),
                strict=True,
            )
            yield Write(SQL.insert_events, (self.service, unit.at, *columns))
        if unit.outcomes:
            columns = zip(
                *((o.command_id, o.sender, o.reply_type, o.reply.decode()) for o in unit.outcomes), strict=True
            )
            yield Write(SQL.insert_outcomes, (self.service, unit.at, *columns))
        if unit.rejects:
            columns = zip(
                *(
                    (storable(r.subject), storable(r.sender), storable(r.reason), r.body, r.kind, r.count, r.minute)
                    for r in unit.rejects
                ),
                strict=True,
            )
            yield Write(SQL.insert_rejects, (self.service, unit.at, *columns))

    async def events_after(self, seq: int, last_seq: int, limit: int) -> list[StoredEvent]:
        """The service's own events past `seq`, up to `last_seq`, in order."""
        rows = await self.pool.fetch(SQL.events_after, self.service, seq, last_seq, limit)
        return [
            StoredEvent(
                seq=row["seq"],
                type=row["type"],
                entity_id=row["entity_id"],
                data=row["data"].encode(),
                recorded_at=row["recorded_at"],
                causation_id=row["causation_id"],
                correlation_id=row["correlation_id"],
                traceparent=row["traceparent"],
            )
            for row in rows
        ]

    async def seq_before(self, moment: datetime, last_seq: int) -> int:
        """The number of the last own event recorded before `moment`."""
        seq: int = await self.pool.fetchval(SQL.seq_before, self.service, moment, last_seq)
        return seq
