"""What is kept for how long: events for `history_days`, and the rows of what has ended for `ended_days`.

Rows stay longer than the events from which they follow. So before a day of history is dropped, each service writes a
snapshot of whatever it has a row of and of which that day tells; then it says that it needs the day no more
(`position.history_from`). A day is dropped once all services have said so and all its events are on the bus. What
remains adds up to the rows as before: snapshots first, then the events that they do not include.

All of it happens in small steps, each of which is a turn of the owner's loop and a commit of its own, so it may be
interrupted at any time and is taken up by whoever owns the service next.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import asyncpg
import structlog

from hivewire import codec, limits
from hivewire.events import CATALOGUE, Event, of_writer
from hivewire.events.kept import Snapshot
from hivewire_service.core import Step
from hivewire_service.queries import load_queries
from hivewire_service.store import SQL as CHASSIS_SQL
from hivewire_service.store import Store, is_passing

log = structlog.get_logger()
SQL = load_queries("hivewire_service.queries", "retention.sql")

STEP_ENTITIES = 100
"""Snapshots or removals in one turn of the loop."""
EVERY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Periods:
    """How long things are kept."""

    history: timedelta = timedelta(days=30)
    ended: timedelta = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Cut:
    """Up to where a snapshot reaches: the moment before which its events were recorded, and the last one's number."""

    as_of: datetime
    through: int


Decide = Callable[[asyncpg.Connection, Cut], Awaitable[Step]]
"""(the owner's connection, the present) -> what follows from the rows as they stand."""
Snapshots = Callable[[asyncpg.Connection, Sequence[str], Cut], Awaitable[Iterable[Snapshot]]]
"""(connection, ids, cut) -> the snapshots of these entities."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of entity that has rows.

    `dated`: its snapshots say how it stood when the remaining history begins, so that every later moment can be asked
    about; the others say how it stands now, which its row tells. `expired` finds some that ended before a moment
    ($1, at most $2) and are not needed any more; `removed` makes the event that removes one.
    """

    entity: str
    table: str
    snapshot: type[Snapshot]
    snapshots: Snapshots
    dated: bool = False
    expired: str | None = None
    removed: Callable[[str], Event] | None = None

    def present(self) -> str:
        """The query for those of $1 that have a row."""
        key = self.snapshot.key
        return f"SELECT {key} FROM {self.table} WHERE {key} = ANY($1::text[])"


async def _carry_nothing(_connection: asyncpg.Connection, _cut: Cut) -> Step:
    return Step()


@dataclass(frozen=True, slots=True)
class Keeping:
    """What a service keeps. `carry` writes down, some at a time, what else would be lost with the history before a cut;
    an empty step says that there is no more. `forgets` delete rows older than $1, some at a time, of which no event
    tells."""

    kinds: Sequence[Kind] = ()
    carry: Decide = _carry_nothing
    forgets: Sequence[str] = ()


class Turns(Protocol):
    """The loop, as far as it is needed here."""

    store: Store

    async def do(self, decide: Decide) -> bool:
        """Let `decide` have a turn of its own; True once it is committed, False if there was nothing to commit."""


class Retention:
    """Keeps one service's share of the hive as small as it is to be, for as long as it is the owner."""

    def __init__(self, turns: Turns, keeping: Keeping, periods: Periods, clock: Callable[[], datetime]) -> None:
        self._turns = turns
        self._store = turns.store
        self._keeping = keeping
        self._periods = periods
        self._clock = clock

    async def run(self) -> None:
        """Look every hour, until cancelled."""
        while True:
            try:
                await self.keep()
            except asyncpg.LockNotAvailableError:
                log.info("history is being read, it is shortened later", service=self._store.service)
            except Exception as error:
                if is_passing(error):
                    raise
                # Nothing else depends on it: the service goes on with what it is there for.
                log.exception("what is old was not let go, it is tried again later", service=self._store.service)
            await asyncio.sleep(EVERY_S)

    async def keep(self) -> None:
        """Make room for the days to come, and let go what is too old."""
        now = self._clock()
        await self._store.add_event_partitions(now)
        await self._remove(now - self._periods.ended)
        await self._forget(now)
        await self._shorten(now - self._periods.history)
        await self._store.drop_history()

    async def _remove(self, before: datetime) -> None:
        for kind in self._keeping.kinds:
            if kind.expired is not None and kind.removed is not None:
                while await self._turns.do(_removal(kind.expired, kind.removed, before)):
                    pass

    async def _forget(self, now: datetime) -> None:
        ended = now - self._periods.ended
        service = self._store.service
        await self._delete(CHASSIS_SQL.drop_old_outcomes, service, now - timedelta(seconds=limits.OUTCOME_KEPT_S))
        await self._delete(CHASSIS_SQL.drop_old_rejects, service, ended)
        for sql in self._keeping.forgets:
            await self._delete(sql, ended)

    async def _delete(self, sql: str, *arguments: Any) -> None:
        while (await self._store.pool.execute(sql, *arguments)) != "DELETE 0":
            pass

    async def _shorten(self, moment: datetime) -> None:
        """Make the service independent of the days that ended before `moment`."""
        pool, service = self._store.pool, self._store.service
        before = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        since = await pool.fetchval(SQL.history_from, service)
        if since is not None and since >= before:
            return
        cut = Cut(before, await pool.fetchval(CHASSIS_SQL.last_seq_before, service, before))
        for kind in self._keeping.kinds:
            await self._snapshot(kind, since, cut)
        while cut.through and await self._turns.do(lambda connection, _now: self._keeping.carry(connection, cut)):
            pass
        await pool.execute(SQL.let_go_history, service, before)

    async def _snapshot(self, kind: Kind, since: datetime | None, cut: Cut) -> None:
        pool, service, last = self._store.pool, self._store.service, ""
        while True:
            rows = await pool.fetch(
                SQL.entities_before, service, f"{kind.entity}.", since, cut.as_of, last, STEP_ENTITIES
            )
            if not rows:
                return
            ids = [row["entity_id"] for row in rows]
            last = ids[-1]
            kept = {row[0] for row in await pool.fetch(kind.present(), ids)}
            done = {row[0] for row in await pool.fetch(SQL.snapshots_since, ids, kind.snapshot.type, cut.as_of)}
            wanted = sorted(kept - done)
            if wanted:
                await self._turns.do(_snapshots(kind, wanted, cut))


def _removal(expired: str, removed: Callable[[str], Event], before: datetime) -> Decide:
    async def chore(connection: asyncpg.Connection, _now: Cut) -> Step:
        rows = await connection.fetch(expired, before, STEP_ENTITIES)
        return Step([removed(row[0]) for row in rows])

    return chore


def _snapshots(kind: Kind, ids: Sequence[str], cut: Cut) -> Decide:
    async def chore(connection: asyncpg.Connection, now: Cut) -> Step:
        return Step(list(await kind.snapshots(connection, ids, cut if kind.dated else now)))

    return chore


# --- what remains, read again -----------------------------------------------------------------------
class Remains:
    """What is left of a writer's history: snapshots, and the events that they do not include.

    Of what has neither a snapshot nor its first event any more, the rest is passed over: it has no row either.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        writer: str,
        begins: Mapping[str, str],
        types: Iterable[str] | None = None,
    ) -> None:
        """Read in one transaction.

        Args:
            connection: has that transaction.
            writer: whose history it is.
            begins: entity -> the type of its first event, for entities that cannot be understood without it.
            types: the events that matter; without it all of them.
        """
        self._types = None if types is None else sorted(types)
        self._connection = connection
        self._writer = writer
        self._begins = begins
        self._catalogue = of_writer(writer)
        self._through: dict[tuple[str, str], int] = {}
        self._shortened = False
        self.found: list[str] = []
        """Events that cannot be read."""

    async def snapshots(self) -> list[Snapshot]:
        """The last snapshot of each thing, in no order. Read before the events."""
        self._shortened = await self._connection.fetchval(SQL.history_from, self._writer) is not None
        rows = await self._connection.fetch(SQL.snapshots, self._writer, _SNAPSHOT_TYPES)
        found = [event for row in rows if isinstance(event := self._decoded(row), Snapshot)]
        self._through = {(event.entity, event.entity_id): event.through for event in found}
        return found

    async def events(self) -> AsyncIterator[tuple[int, Any]]:
        """The other events that count, each with its number, in order."""
        async for row in self._connection.cursor(SQL.history, self._writer, _SNAPSHOT_TYPES, self._types):
            name = (row["type"].partition(".")[0], row["entity_id"])
            if row["seq"] > self._through.get(name, 0) and self._is_known(name, row["type"]):
                event = self._decoded(row)
                if event is not None:
                    yield row["seq"], event

    def _is_known(self, name: tuple[str, str], event_type: str) -> bool:
        first = self._begins.get(name[0])
        if first == event_type:
            self._through.setdefault(name, 0)
        return first is None or not self._shortened or name in self._through

    def _decoded(self, row: asyncpg.Record) -> Event | None:
        event = codec.decode_as(row["data"].encode(), self._catalogue[row["type"]], row["type"])
        if isinstance(event, codec.Malformed):
            self.found.append(f"event {row['seq']}: {event.reason}")
            return None
        return event


_SNAPSHOT_TYPES = [name for name, event in CATALOGUE.items() if issubclass(event, Snapshot)]
