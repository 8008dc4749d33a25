"""Whether the tables of tasks are what the history adds up to."""

import sys
from typing import Any, Final

import asyncpg
import msgspec

from hivewire import codec
from hivewire.events.kept import Snapshot, TaskRemoved
from hivewire.events.task import (
    TaskCancelled,
    TaskCompleted,
    TaskCreated,
    TaskPendingApproval,
    TaskRejected,
    TaskUpdated,
)
from hivewire.subjects import BROKER
from hivewire_broker import phase_rows, replay_rows
from hivewire_broker.evolve import evolve
from hivewire_broker.phase import Initiative, Phase
from hivewire_broker.rows import CHUNK, SQL, read_state, read_tasks
from hivewire_broker.snapshots import restore
from hivewire_broker.state import State
from hivewire_broker.states import IllegalTransition
from hivewire_broker.stored import created_of, updated
from hivewire_broker.task import Attempt, Task
from hivewire_service.retention import Remains

_BEGINS: Final = {
    "task": "task.created",
    "phase": "phase.created",
    "initiative": "initiative.created",
    "replay": "replay.started",
}
_DERIVED: Final = frozenset({"in_line", "armed_at", "requirements", "attempts"})
_DERIVED_OF_PLANS: Final = frozenset({"open", "bad", "completed", "phases"})
_REMEMBERED: Final = frozenset({"grace_s", "pause", "sent_at"})
"""Of attempts: what is kept in memory only."""


Kept = Task | Attempt | Phase | Initiative


class Replay:
    """The state that all events add up to, with what they say of each task beside it."""

    def __init__(self) -> None:
        self.state = State(ended_max=sys.maxsize)
        self.created: dict[str, TaskCreated] = {}
        self.results: dict[str, str] = {}
        self.without_texts: set[str] = set()
        """Tasks of which a snapshot left out payload and result."""
        self.found: list[str] = []

    def begin(self, snapshots: list[Snapshot]) -> None:
        """Begin with what is known of tasks, phases and initiatives whose first events are gone."""
        self.created = {task_id: kept.created for task_id, kept in restore(self.state, snapshots).items()}
        self.without_texts = set(self.created)

    def add(self, seq: int, event: Any) -> None:
        """Add the next event."""
        if isinstance(event, TaskRemoved):
            self.created.pop(event.task_id, None)
            self.without_texts.discard(event.task_id)
        elif isinstance(event, TaskCreated):
            self.created[event.task_id] = event
        elif isinstance(event, TaskUpdated):
            self.created[event.task_id] = updated(self.created[event.task_id], event)
        elif isinstance(event, (TaskCompleted, TaskPendingApproval)):
            self.results[event.task_id] = codec.text(event.result)
        elif isinstance(event, (TaskRejected, TaskCancelled)):
            self.results.pop(event.task_id, None)
        try:
            evolve(self.state, event)
        except IllegalTransition as error:
            self.found.append(f"event {seq} of {event.entity} {event.entity_id}: {error}")


async def differences(connection: asyncpg.Connection) -> list[str]:
    """Replay the broker's events and compare; one line for each thing that differs, none when all is well."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        replay = Replay()
        remains = Remains(connection, BROKER, _BEGINS)
        replay.begin(await remains.snapshots())
        async for seq, event in remains.events():
            replay.add(seq, event)
        replay.found += remains.found
        stored = State(ended_max=sys.maxsize)
        await phase_rows.read(connection, stored)
        stored.replays = await replay_rows.read(connection)
        stored.add_all([task async for chunk in read_tasks(connection, stored, SQL.load_all) for task in chunk])
        found = replay.found + compare(replay.state, stored)
        found += await _compare_contents(connection, replay)
        loaded = await read_state(connection)
    while replay.state.released:
        replay.state.release()
    return found + _compare_indexes(replay.state, loaded)


def compare(folded: State, stored: State) -> list[str]:
    """What two states say differently about tasks and attempts."""
    found = []
    for task_id in sorted(folded.tasks.keys() | stored.tasks.keys()):
        one, other = folded.tasks.get(task_id), stored.tasks.get(task_id)
        if one is None or other is None:
            found.append(f"task {task_id}: {'no event' if one is None else 'no row'}")
        else:
            found += _compare_tasks(one, other)
    return found + _compare_plans(folded, stored)


def _compare_plans(folded: State, stored: State) -> list[str]:
    """What two states say differently about phases, initiatives and replays."""
    found = []
    for name in ("phases", "initiatives", "replays"):
        said, kept = getattr(folded, name), getattr(stored, name)
        for plan_id in sorted(said.keys() | kept.keys()):
            one, other = said.get(plan_id), kept.get(plan_id)
            what = f"{name.removesuffix('s')} {plan_id}"
            if one is None or other is None:
                found.append(f"{what}: {'no event' if one is None else 'no row'}")
            else:
                found += _compare_fields(what, one, other, _DERIVED_OF_PLANS)
    return found


def _compare_tasks(folded: Task, stored: Task) -> list[str]:
    skipped = _DERIVED if not folded.ended else _DERIVED | {"unmet"}
    found = _compare_fields(f"task {folded.task_id}", folded, stored, skipped)
    wanted = [(task.requirements.owner, task.requirements.capabilities) for task in (folded, stored)]
    if wanted[0] != wanted[1]:
        found.append(f"task {folded.task_id}: requirements are {wanted[1]}, its events say {wanted[0]}")
    if len(folded.attempts) != len(stored.attempts):
        counts = f"{len(stored.attempts)}, its events say {len(folded.attempts)}"
        return [*found, f"task {folded.task_id}: attempts are {counts}"]
    for one, other in zip(folded.attempts, stored.attempts, strict=True):
        found += _compare_fields(f"task {folded.task_id} attempt {one.number}", one, other, _REMEMBERED)
    return found


def _compare_fields(what: str, folded: Kept, stored: Kept, skipped: frozenset[str]) -> list[str]:
    return [
        f"{what}: {name} is {getattr(stored, name)!r}, its events say {getattr(folded, name)!r}"
        for name in folded.__struct_fields__
        if name not in skipped and getattr(folded, name) != getattr(stored, name)
    ]


async def _compare_contents(connection: asyncpg.Connection, replay: Replay) -> list[str]:
    found = []
    task_ids = list(replay.created)
    for start in range(0, len(task_ids), CHUNK):
        for row in await connection.fetch(SQL.contents, task_ids[start : start + CHUNK]):
            task_id = row["task_id"]
            # A deadline may be lifted later; it is compared with the state.
            said, kept = (_content(created) for created in (replay.created[task_id], created_of(row)))
            if task_id in replay.without_texts:
                said["payload"] = kept["payload"]
            found += [
                f"task {task_id}: {name} is {kept[name]!r}, its events say {said[name]!r}"
                for name in said
                if said[name] != kept[name]
            ]
            if replay.results.get(task_id) != row["result"] and task_id not in replay.without_texts:
                found.append(f"task {task_id}: its result is not that of its events")
    return found


def _content(created: TaskCreated) -> dict[str, Any]:
    content = msgspec.structs.asdict(created)
    del content["deadline"]
    content["payload"], content["metadata"] = codec.text(created.payload), codec.text(created.metadata)
    return content


def _compare_indexes(folded: State, loaded: State) -> list[str]:
    """What agents hold or are woken for, and what is known of them, as the next owner would find it."""
    found = []
    for name in ("history", "last_ordinal"):
        said, kept = getattr(folded, name), getattr(loaded, name)
        if said != kept:
            found.append(f"{name}: {kept!r}, the events say {said!r}")
    for phase_id, one in folded.phases.items():
        other = loaded.phases.get(phase_id)
        if other is not None and one.status != "completed":
            found += _compare_fields(f"phase {phase_id}", one, other, frozenset())
    for name in ("held", "awaited", "dependents"):
        said, kept = ({key: set(ids) for key, ids in getattr(state, name).items()} for state in (folded, loaded))
        if said != kept:
            found.append(f"{name}: {kept!r}, the events say {said!r}")
    return found
