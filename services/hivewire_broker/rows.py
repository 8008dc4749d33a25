"""Keeps the state in its tables: loads it, and writes what changed, one statement a table."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import asyncpg
import msgspec

from hivewire import codec
from hivewire.commands.broker import Approve, Retry, Update
from hivewire.events import Event
from hivewire.events.agent import AgentWaiting
from hivewire.events.kept import TaskRemoved
from hivewire.events.task import (
    TaskAssigned,
    TaskCancelled,
    TaskCompleted,
    TaskCreated,
    TaskEvent,
    TaskPendingApproval,
    TaskRejected,
    TaskUpdated,
)
from hivewire.subjects import Subjects
from hivewire_broker import phase_rows, replay_rows
from hivewire_broker.core import Broker
from hivewire_broker.decision import Decision
from hivewire_broker.dispatches import Dispatches
from hivewire_broker.fleet import AgentSeen
from hivewire_broker.naming import named_tasks
from hivewire_broker.newness import Newness
from hivewire_broker.presence import WaitsSeen
from hivewire_broker.state import History, State
from hivewire_broker.stored import (
    assigned_row,
    attempt_of,
    attempt_row,
    content_row,
    json_text,
    merged,
    status_row,
    task_of,
    update_row,
    updated,
)
from hivewire_broker.task import Attempt, Task
from hivewire_service.core import Command, Message, Write
from hivewire_service.queries import load_queries

SQL = load_queries("hivewire_broker", "queries.sql")

CHUNK: Final = 10_000
"""Tasks that are loaded at a time."""


class TaskRows:
    """Keeps the broker's state in Postgres. Implements `Rows`."""

    def __init__(
        self, broker: Broker, subjects: Subjects, committed: Callable[[Sequence[Event]], None] | None = None
    ) -> None:
        """`committed` is told the events of each commit."""
        self._broker = broker
        self._committed = committed
        self._dispatches = Dispatches(subjects, SQL.contents, broker)
        self._newness = Newness()

    async def load(self, connection: asyncpg.Connection, now: datetime) -> None:
        """Replace the core's state by what Postgres holds: all live tasks, the agents, and who waits for answers."""
        self._broker.restore(await read_state(connection), await read_agents(connection))
        self._broker.observe(WaitsSeen(await read_waits(connection)), now)
        self._newness.loaded(now)

    async def load_for(self, connection: asyncpg.Connection, commands: Sequence[Command], now: datetime) -> None:
        """Bring the ended tasks that these commands name."""
        state = self._broker.state
        named = {each for command in commands for each in named_tasks(self._broker.hive, command)}
        await _load_ended(connection, state, {n.task_id for n in named if not self._newness.is_new(n.dated_by, now)})
        retried = [state.tasks.get(command.data.task_id) for command in commands if isinstance(command.data, Retry)]
        await _load_ended(connection, state, {needed for task in retried if task for needed in task.depends_on})
        rearranged = {needed for c in commands if isinstance(c.data, Update) for needed in c.data.depends_on or ()}
        if rearranged:
            # A cycle may lead through them.
            rows = await connection.fetch(SQL.bad_ancestors, sorted(rearranged))
            await _load_ended(connection, state, {row["task_id"] for row in rows})
        approved = {command.data.task_id for command in commands if isinstance(command.data, Approve)}
        await _load_results(connection, state, approved)

    def writes(self, events: Sequence[Event], records: Sequence[Any], now: datetime) -> Iterable[Write]:
        """The statements that make the tables equal to the state after `events`."""
        self._broker.state.turn_is_over()
        changes = Changes(events, records)
        yield from phase_rows.writes(self._broker.state, events)
        yield from replay_rows.writes(self._broker.state.replays, events)
        yield from changes.tasks(self._broker.state, now)
        yield from changes.attempts(self._broker.state)
        yield from changes.histories(self._broker.state)
        removed = [event.task_id for event in events if isinstance(event, TaskRemoved)]
        for sql in (SQL.delete_tasks, SQL.delete_dependencies, SQL.delete_attempts) if removed else ():
            yield Write(sql, (removed,))

    async def messages(
        self, connection: asyncpg.Pool, events: Sequence[Event], records: Sequence[Any]
    ) -> Iterable[Message]:
        """Dispatches to agents, and what they have to stop."""
        state = self._broker.state
        messages = await self._dispatches.messages(connection, events, records)
        state.results.clear()  # whoever needs them is decided after their commit, and finds them in the rows
        state.forget_old()
        if self._committed is not None:
            self._committed(events)
        return messages


class Changes:
    """What one commit changes in the tables, collected from its events. Each row is written once."""

    def __init__(self, events: Sequence[Event], records: Sequence[Any]) -> None:
        self._created: dict[str, TaskCreated] = {}
        self._changed: dict[str, None] = {}
        self._results: dict[str, str] = {}
        self._updates: dict[str, TaskUpdated] = {}
        self._assigned: dict[tuple[str, int], TaskAssigned] = {}
        self._reported: dict[tuple[str, int], None] = {}
        self._decisions = {(d.task_id, d.attempt): d for d in records if isinstance(d, Decision)}
        for event in events:
            if isinstance(event, TaskEvent):
                self._add(event)

    def _add(self, event: TaskEvent) -> None:
        match event:
            case TaskCreated():
                self._created[event.task_id] = event
            case TaskAssigned():
                self._assigned[event.task_id, event.attempt] = event
            case TaskCompleted() | TaskPendingApproval():
                self._results[event.task_id] = codec.text(event.result)
            case TaskRejected() | TaskCancelled():
                self._results.pop(event.task_id, None)
            case TaskUpdated():
                self._update(event)
        if event.task_id not in self._created:
            self._changed[event.task_id] = None
        number = getattr(event, "attempt", 0)
        if number and (event.task_id, number) not in self._assigned:
            self._reported[event.task_id, number] = None

    def _update(self, event: TaskUpdated) -> None:
        created = self._created.get(event.task_id)
        if created is not None:
            self._created[event.task_id] = updated(created, event)
        else:
            self._updates[event.task_id] = merged(self._updates.get(event.task_id), event)

    def tasks(self, state: State, now: datetime) -> Iterable[Write]:
        """New tasks with their dependencies, and tasks that changed."""
        if self._created:
            rows = [
                (task_id, task.ordinal, *content_row(created), *status_row(task, self._results.get(task_id)))
                for task_id, created in self._created.items()
                if (task := state.tasks[task_id])
            ]
            yield Write(SQL.insert_tasks, (now, *columns(rows)))
        edges = [(created.task_id, needed) for created in self._created.values() for needed in created.depends_on]
        if edges:
            yield Write(SQL.insert_dependencies, columns(edges))
        yield from self._rearranged()
        if self._changed:
            changed = [
                (
                    task_id,
                    *status_row(state.tasks[task_id], self._results.get(task_id)),
                    *update_row(self._updates.get(task_id)),
                )
                for task_id in self._changed
            ]
            yield Write(SQL.update_tasks, (now, *columns(changed)))

    def _rearranged(self) -> Iterable[Write]:
        """Known tasks that depend on others now."""
        given = {task_id: event.depends_on for task_id, event in self._updates.items() if event.depends_on is not None}
        if given:
            edges = [(task_id, needed) for task_id, depends_on in given.items() for needed in depends_on]
            task_ids, needed_ids = columns(edges) if edges else ((), ())
            yield Write(SQL.drop_dependencies, (tuple(given), task_ids, needed_ids))
            yield Write(SQL.add_dependencies, (task_ids, needed_ids))

    def attempts(self, state: State) -> Iterable[Write]:
        """New attempts with the records of their choice, and attempts that went on."""
        if self._assigned:
            rows = [
                (*assigned_row(event, self._decision(key)), *attempt_row(_attempt(state, key)))
                for key, event in self._assigned.items()
            ]
            yield Write(SQL.insert_attempts, columns(rows))
        if self._reported:
            reported = [(*key, *attempt_row(_attempt(state, key))) for key in self._reported]
            yield Write(SQL.update_attempts, columns(reported))

    def histories(self, state: State) -> Iterable[Write]:
        """What is now known of the agents that had something to do."""
        assigned = {event.agent_id for event in self._assigned.values()}
        ended = {attempt.agent_id for key in self._reported if not (attempt := _attempt(state, key)).open}
        rows = [
            (
                agent_id,
                history.completed,
                history.ended,
                history.run_us,
                history.cost,
                history.costed,
                history.last_assigned_us,
            )
            for agent_id in sorted(assigned | ended)
            if (history := state.history[agent_id])
        ]
        if rows:
            yield Write(SQL.write_histories, columns(rows))

    def _decision(self, key: tuple[str, int]) -> str | None:
        decision = self._decisions.get(key)
        return None if decision is None else json_text(decision)


def columns(rows: Sequence[tuple[Any, ...]]) -> tuple[tuple[Any, ...], ...]:
    """Rows as columns, to be unnested."""
    return tuple(zip(*rows, strict=True))


def _attempt(state: State, key: tuple[str, int]) -> Attempt:
    task_id, number = key
    return state.tasks[task_id].attempts[number - 1]


async def read_agents(connection: asyncpg.Connection) -> list[AgentSeen]:
    """All agents of the gateway's registry."""
    return [agent_seen(row) for row in await connection.fetch(SQL.load_agents)]


async def read_waits(connection: asyncpg.Connection) -> list[AgentWaiting]:
    """The open attempts that wait for answers, or did so before."""
    return [
        AgentWaiting(
            agent_id=row["agent_id"],
            task_id=row["task_id"],
            attempt=row["attempt"],
            paused_s=row["paused_s"],
            waiting_since=row["waiting_since"],
            pause_until=row["pause_until"],
        )
        for row in await connection.fetch(SQL.load_waits)
    ]


def agent_seen(row: asyncpg.Record) -> AgentSeen:
    """An agent as the gateway wrote it."""
    return AgentSeen(
        agent_id=row["agent_id"],
        instance=row["instance"],
        presence=row["state"],
        drained=row["drained"],
        capabilities=frozenset(row["capabilities"]),
        slots=row["slots"],
        owner=row["owner"],
        policy=row["policy"],
        wakeable=row["wake"] is not None,
    )


async def read_state(connection: asyncpg.Connection) -> State:
    """The live tasks, and those ended ones that keep live ones waiting."""
    state = State()
    for row in await connection.fetch(SQL.load_histories):
        state.history[row["agent_id"]] = History(
            completed=row["completed"],
            ended=row["ended"],
            run_us=row["run_us"],
            cost=row["cost"],
            costed=row["costed"],
            last_assigned_us=row["last_assigned_us"],
        )
    await phase_rows.read(connection, state)
    state.replays = await replay_rows.read(connection)
    unmet = await connection.fetch(SQL.unmet_dependencies_of_live)
    await _load_ended(connection, state, {row["task_id"] for row in unmet})
    live = [task async for chunk in read_tasks(connection, state, SQL.load_live) for task in chunk]
    state.add_all(live)
    for task in live:
        state.take_up(task)
    state.to_review.extend(task.task_id for task in live if task.depends_on)
    for phase in state.phases.values():
        if phase.started_at is not None and phase.status != "completed":
            state.queue_tasks_of(phase)
    state.last_ordinal = await connection.fetchval(SQL.last_ordinal)
    return state


async def read_tasks(connection: asyncpg.Connection, state: State, sql: str) -> AsyncIterator[list[Task]]:
    """All tasks that a query gives, oldest first, some at a time."""
    ordinal = 0
    while rows := await connection.fetch(sql, ordinal, CHUNK):
        yield await _with_attempts(connection, state, rows)
        ordinal = rows[-1]["ordinal"]


async def _load_ended(connection: asyncpg.Connection, state: State, task_ids: set[str]) -> None:
    cold = sorted(task_id for task_id in task_ids if task_id not in state.tasks)
    if cold:
        for task in await _with_attempts(connection, state, await connection.fetch(SQL.load_ended, cold)):
            state.remember(task)


async def _load_results(connection: asyncpg.Connection, state: State, task_ids: set[str]) -> None:
    missing = sorted(task_id for task_id in task_ids if task_id not in state.results)
    if missing:
        for row in await connection.fetch(SQL.results_pending_approval, missing):
            state.results[row["task_id"]] = msgspec.Raw((row["result"] or "null").encode())


async def _with_attempts(connection: asyncpg.Connection, state: State, rows: list[asyncpg.Record]) -> list[Task]:
    tried = [row["task_id"] for row in rows if row["attempt"]]
    found = await connection.fetch(SQL.load_attempts, tried) if tried else []
    attempts = {
        task_id: tuple(attempt_of(row) for row in group) for task_id, group in groupby(found, itemgetter("task_id"))
    }
    return [task_of(state, row, attempts.get(row["task_id"], ())) for row in rows]
