"""Tasks and the queue as they were at a moment, folded from the events up to it."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec

from hivewire import codec, fields
from hivewire.events import CATALOGUE, Event
from hivewire.events.kept import TaskRemoved, TaskSnapshot
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
from hivewire.subjects import BROKER
from hivewire.views import AttemptView, QueueView, TaskView
from hivewire_broker.evolve import evolve
from hivewire_broker.phase import Phase
from hivewire_broker.rows import SQL
from hivewire_broker.snapshots import STOOD, KeptTask, kept_task, restore_tasks
from hivewire_broker.state import State
from hivewire_broker.stored import updated
from hivewire_broker.task import Attempt, Task
from hivewire_service.core import Refusal

CHUNK: Final = 1_000
"""Tasks whose events are read at a time."""
WAITING: Final = frozenset({"pending", "blocked"})
_WITH_RESULT: Final = frozenset({"pending_approval", "completed"})


class Past:
    """One task, as far as its events were added."""

    def __init__(self) -> None:
        self._state = State()
        self._created: TaskCreated | None = None
        self._assigned: dict[int, TaskAssigned] = {}
        self._result: msgspec.Raw = fields.NULL
        self._texts_dropped = False
        self._updated_at: datetime | None = None

    def add(self, event: TaskEvent, recorded_at: datetime) -> None:
        """Add the task's next event."""
        match event:
            case TaskCreated():
                self._created = event
                self._know_phase(event.phase_id)
            case TaskUpdated() if self._created is not None:
                self._created = updated(self._created, event)
            case TaskAssigned():
                self._assigned[event.attempt] = event
            case TaskCompleted() | TaskPendingApproval():
                self._result = event.result
            case TaskRejected() | TaskCancelled():
                self._result = fields.NULL
        evolve(self._state, event)
        self._updated_at = recorded_at

    def restore(self, kept: KeptTask) -> None:
        """Begin with a snapshot."""
        self._created = kept.created
        self._assigned = {assigned.attempt: assigned for assigned in kept.assigned}
        self._updated_at = kept.updated_at
        self._texts_dropped = True
        self._know_phase(kept.created.phase_id)
        restore_tasks(self._state, [kept])

    @property
    def known(self) -> bool:
        """Whether there is anything to show."""
        return self._created is not None

    def state(self, ordinal: int) -> msgspec.Raw:
        """The task as a snapshot holds it."""
        created, task = self._created, self.task
        assert created is not None
        assert self._updated_at is not None
        kept = KeptTask(
            created=msgspec.structs.replace(created, payload=fields.NULL),
            ordinal=ordinal,
            updated_at=self._updated_at,
            assigned=list(self._assigned.values()),
            **{name: getattr(task, name) for name in STOOD},
        )
        return codec.raw(kept)

    def complete(self, payload: msgspec.Raw, result: msgspec.Raw) -> None:
        """Take what a snapshot left out from the row, which never changes it."""
        assert self._created is not None
        if self._texts_dropped:
            self._created = msgspec.structs.replace(self._created, payload=payload)
            if self.task.status in _WITH_RESULT and self._result is fields.NULL:
                self._result = result

    def _know_phase(self, phase_id: str | None) -> None:
        """Of the task's phase nothing matters here but that it is there."""
        if phase_id is not None:
            self._state.phases[phase_id] = Phase(phase_id=phase_id, ordinal=1, content_hash="")

    @property
    def task(self) -> Task:
        """How it stood."""
        assert self._created is not None
        return self._state.tasks[self._created.task_id]

    def view(self) -> TaskView:
        """The task as it was shown then."""
        created, task = self._created, self.task
        assert created is not None
        assert self._updated_at is not None
        last = None if task.status in WAITING else task.attempt
        said = {name: getattr(created, name) for name in _SAID}
        stood = {name: getattr(task, name) for name in _STOOD}
        return TaskView(
            **said,
            **stood,
            type=created.task_type,
            attempt=len(task.attempts),
            agent_id=last.agent_id if last else None,
            started_at=last.started_at if last else None,
            result=self._result,
            updated_at=self._updated_at,
            attempts=[self._attempt(attempt) for attempt in task.attempts],
        )

    def _attempt(self, attempt: Attempt) -> AttemptView:
        assigned = self._assigned[attempt.number]
        return AttemptView(
            task_id=assigned.task_id,
            attempt=attempt.number,
            agent_id=attempt.agent_id,
            instance=attempt.instance,
            status=attempt.status,
            assigned_at=attempt.assigned_at,
            started_at=attempt.started_at,
            ended_at=attempt.ended_at,
            error=attempt.error,
            score=assigned.score,
            reason=assigned.reason,
            oversight=assigned.oversight,
            cost=attempt.cost,
        )


_SAID: Final = tuple(sorted(set(TaskCreated.__struct_fields__) & set(TaskView.__struct_fields__) - {"deadline"}))
_STOOD: Final = tuple(sorted(set(Task.__struct_fields__) & set(TaskView.__struct_fields__) - set(_SAID) - {"attempts"}))


async def task_as_of(connection: asyncpg.Connection, task_id: str, moment: datetime) -> TaskView | Refusal:
    """One task with its attempts, as it was at `moment`."""
    refusal = await _beyond_history(connection, moment)
    if refusal is not None:
        return refusal
    past = (await _fold(connection, [task_id], moment)).get(task_id)
    if past is None:
        return Refusal(f"there was no task {task_id!r} at {moment.isoformat()}", 404)
    return past.view()


async def queue_as_of(connection: asyncpg.Connection, moment: datetime, limit: int) -> QueueView | Refusal:
    """What waited at `moment`, counted, and its head in the order in which it would have been given out."""
    refusal = await _beyond_history(connection, moment)
    if refusal is not None:
        return refusal
    waiting: list[tuple[int, int, Past]] = []
    rows = await connection.fetch(SQL.live_at, moment)
    for start in range(0, len(rows), CHUNK):
        ordinals = {row["task_id"]: row["ordinal"] for row in rows[start : start + CHUNK]}
        folded = await _fold(connection, list(ordinals), moment)
        waiting += [
            (past.task.place, ordinals[task_id], past)
            for task_id, past in folded.items()
            if past.task.status in WAITING
        ]
    waiting.sort(key=lambda entry: entry[:2])
    tasks = [past.task for _, _, past in waiting]
    completed = await _completed(connection, tasks, moment)
    ready = sum(_is_ready(task, completed, moment) for task in tasks)
    blocked = sum(task.status == "blocked" for task in tasks)
    items = [past.view() for _, _, past in waiting[:limit]]
    for item in items:
        item.attempts = []
    return QueueView(len(tasks) - ready - blocked, ready, blocked, items)


def _is_ready(task: Task, completed: set[str], moment: datetime) -> bool:
    due = task.wakes_at is None or task.wakes_at <= moment
    return task.status == "pending" and due and task.auto and completed.issuperset(task.depends_on)


async def _completed(connection: asyncpg.Connection, tasks: Iterable[Task], moment: datetime) -> set[str]:
    """Of what these tasks depend on, that which was completed at `moment`; nothing ever changes that."""
    needed = sorted({task_id for task in tasks for task_id in task.depends_on})
    return {row["task_id"] for row in await connection.fetch(SQL.completed_at, needed, moment)}


async def _fold(connection: asyncpg.Connection, task_ids: Sequence[str], moment: datetime) -> dict[str, Past]:
    rows = await connection.fetch(SQL.events_of, BROKER, task_ids, moment)
    folded = _folded(rows, lambda snapshot: snapshot.as_of <= moment)
    for row in await connection.fetch(SQL.kept_texts, list(folded)):
        payload, result = (msgspec.Raw((text or "null").encode()) for text in (row["payload"], row["result"]))
        folded[row["task_id"]].complete(payload, result)
    return folded


async def fold_through(connection: asyncpg.Connection, task_ids: Sequence[str], last_seq: int) -> dict[str, Past]:
    """These tasks as the events up to a number left them, and the snapshots among those."""
    rows = await connection.fetch(SQL.events_through, BROKER, task_ids, last_seq)
    return _folded(rows, lambda snapshot: snapshot.through <= last_seq)


def _folded(rows: Sequence[asyncpg.Record], fits: Callable[[TaskSnapshot], bool]) -> dict[str, Past]:
    """The tasks of these events; each begins with the last of its snapshots that fits."""
    events = [(row["seq"], row["recorded_at"], _event(row)) for row in rows]
    snapshots = {event.task_id: event for _, _, event in events if isinstance(event, TaskSnapshot) and fits(event)}
    folded: defaultdict[str, Past] = defaultdict(Past)
    for task_id, snapshot in snapshots.items():
        folded[task_id].restore(kept_task(snapshot))
    for seq, recorded_at, event in events:
        base = snapshots.get(event.task_id)
        if base is not None and seq <= base.through:
            continue
        if isinstance(event, TaskRemoved):
            folded.pop(event.task_id, None)
        elif isinstance(event, TaskEvent):
            past = folded[event.task_id]
            if past.known or isinstance(event, TaskCreated):
                past.add(event, recorded_at)
    return {task_id: past for task_id, past in folded.items() if past.known}


def _event(row: asyncpg.Record) -> Any:
    event: Event | codec.Malformed = codec.decode_as(row["data"].encode(), CATALOGUE[row["type"]], row["type"])
    if isinstance(event, codec.Malformed):
        raise TypeError(f"the event of {row['entity_id']} can't be read: {event.reason}")
    return event


async def _beyond_history(connection: asyncpg.Connection, moment: datetime) -> Refusal | None:
    """The refusal of a moment of which the events are gone, or which has not come yet."""
    now, first = await connection.fetchrow(SQL.history_bounds) or (None, None)
    if now is not None and moment > now:
        return Refusal(f"{moment.isoformat()} has not come yet: leave --as-of out for the present", 422)
    if first is not None and moment < first:
        return Refusal(f"history begins at {first.isoformat()}: nothing is known of {moment.isoformat()}", 422)
    return None
