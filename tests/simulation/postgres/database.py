"""Postgres in memory, as far as the project uses it: the real schema, the real statements, one atomic commit each.

`Database` is the server. A `Session` is a connection as asyncpg gives it; whoever makes it says what happens on the way
to the server and back (`Trip`), which is where faults come in.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

import asyncpg
import sqlglot
from sqlglot import exp

from hivewire_service.store import LEASE_OVER
from simulation.postgres.expressions import Execution
from simulation.postgres.statements import Statement, Statements
from simulation.postgres.tables import Key, Row, Table, tables_of
from simulation.postgres.values import Record

Trip = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Brings a piece of work to the server and its answer back."""

_FUNCTIONS = re.compile(r"CREATE FUNCTION.*?\$\$;", re.DOTALL)
_TYPED_NULL = re.compile(r"NULL::(\w+),")
_PARTITION = re.compile(r"CREATE TABLE IF NOT EXISTS event_\w+ PARTITION OF")


@cache
def _schema() -> tuple[exp.Expression, ...]:
    folder = files("hivewire_service.migrations").joinpath("sql")
    texts = [file.read_text() for file in sorted(folder.iterdir(), key=lambda file: file.name)]
    return tuple(one for text in texts for one in sqlglot.parse(_FUNCTIONS.sub("", text), read="postgres") if one)


class Compiled:
    """Every statement ever seen, compiled. The tables are those of no database: they only say what there is."""

    def __init__(self) -> None:
        tables, views = tables_of(_schema())
        self._statements = Statements(tables, views)
        self._known: dict[str, Statement] = {}

    def __getitem__(self, sql: str) -> Statement:
        known = self._known.get(sql)
        if known is None:
            node = sqlglot.parse_one(_TYPED_NULL.sub(r"'\1',", sql), read="postgres")
            known = self._known[sql] = self._statements.compile(node)
        return known


@cache
def compiled() -> Compiled:
    """Shared by all databases of the process."""
    return Compiled()


class Database:
    """The server. `clock` is its own time."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._tables, _ = tables_of(_schema())
        self._compiled = compiled()
        self.on_commit: Callable[[dict[str, dict[Key, Row | None]]], None] = lambda _: None
        """Told of each statement's changes before they are made."""
        self.on_answer: Callable[[str, tuple[Any, ...], list[Row] | asyncpg.PostgresError], None] = lambda *_: None

    def rows_of(self, table: str) -> dict[Key, Row]:
        return self._tables[table].rows

    def table(self, name: str) -> Table:
        return self._tables[name]

    def run(self, sql: str, arguments: tuple[Any, ...]) -> tuple[str, list[Row]]:
        """Run a statement, whole or not at all; its status and its rows.

        Raises:
            asyncpg.PostgresError: what Postgres would say.
        """
        try:
            status, rows = self._run(sql, arguments)
        except asyncpg.PostgresError as error:
            self.on_answer(sql, arguments, error)
            raise
        self.on_answer(sql, arguments, rows)
        return status, rows

    def _run(self, sql: str, arguments: tuple[Any, ...]) -> tuple[str, list[Row]]:
        if _PARTITION.match(sql):
            return "CREATE TABLE", []
        if sql.startswith("SET LOCAL "):  # about links that die, which these do not
            return "SET", []
        statement = self._compiled[sql]
        execution = Execution(self, arguments, self._clock())
        rows = statement.run(execution, {})
        for name, changes in execution.changes.items():
            self._tables[name].check_unique(changes)
        self.on_commit(execution.changes)
        for name, changes in execution.changes.items():
            self._tables[name].apply(changes)
        number = f"0 {len(rows)}" if statement.verb == "INSERT" else f"{len(rows)}"
        return f"{statement.verb} {number}", rows if statement.columns else []

    def hold_lease(self, service: str, epoch: int) -> None:
        """The schema's function of this name."""
        lease = self.rows_of("lease").get((service,))
        if lease is None or lease["epoch"] != epoch:
            error = asyncpg.RaiseError(f"{service}: epoch {epoch} is over")
            error.sqlstate = LEASE_OVER
            raise error

    def snapshot(self) -> "Snapshot":
        """The tables as they are now, to be read for a while."""
        return Snapshot(self)


class Snapshot:
    """What a transaction in repeatable read sees."""

    def __init__(self, database: Database) -> None:
        self._rows = {name: dict(table.rows) for name, table in database._tables.items()}
        self._clock = database._clock

    def rows_of(self, table: str) -> dict[Key, Row]:
        return self._rows[table]

    def run(self, sql: str, arguments: tuple[Any, ...]) -> tuple[str, list[Row]]:
        execution = Execution(self, arguments, self._clock())
        return "SELECT", compiled()[sql].run(execution, {})


async def at_once(work: Callable[[], Any]) -> Any:
    """A trip without distance."""
    return work()


class Session:
    """A connection like asyncpg's."""

    def __init__(self, database: Database, trip: Trip = at_once) -> None:
        self._database = database
        self._trip = trip
        self._reads: Snapshot | None = None
        self._closed = False

    async def _run(self, sql: str, arguments: tuple[Any, ...]) -> tuple[str, list[Row]]:
        if self._closed:
            raise asyncpg.InterfaceError("connection is closed")
        try:
            answer: tuple[str, list[Row]] = await self._trip(
                lambda: (self._reads or self._database).run(sql, arguments)
            )
        except OSError:
            self._lost()
            raise
        return answer

    def _lost(self) -> None:
        self._closed = True

    async def execute(self, sql: str, *arguments: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109
        return (await self._run(sql, arguments))[0]

    async def fetch(self, sql: str, *arguments: Any) -> list[Record]:
        return [Record(row) for row in (await self._run(sql, arguments))[1]]

    async def fetchrow(
        self,
        sql: str,
        *arguments: Any,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Record | None:
        return next(iter(await self.fetch(sql, *arguments)), None)

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        row = await self.fetchrow(sql, *arguments)
        return None if row is None else row[0]

    async def cursor(self, sql: str, *arguments: Any) -> AsyncIterator[Record]:
        for row in await self.fetch(sql, *arguments):
            yield row

    @asynccontextmanager
    async def transaction(self, *, isolation: str = "read_committed", readonly: bool = False) -> AsyncIterator[None]:
        """Only reads need one: every write is a statement of its own."""
        if isolation == "repeatable_read":
            assert readonly
            self._reads = self._database.snapshot()
        try:
            yield
        finally:
            self._reads = None

    def is_closed(self) -> bool:
        return self._closed

    def terminate(self) -> None:
        self._closed = True


class Pool(Session):
    """A pool like asyncpg's."""

    _holders = ()
    """Of connections that could be ended."""

    def _lost(self) -> None:
        """The next use takes another connection."""

    async def expire_connections(self) -> None:
        """Every use has a new one anyway."""

    @asynccontextmanager
    async def acquire(self, *, timeout: float | None = None) -> AsyncIterator[Session]:  # noqa: ASYNC109
        yield Session(self._database, self._trip)
