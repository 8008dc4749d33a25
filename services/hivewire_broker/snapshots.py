"""Tasks, phases, initiatives and replays as snapshots, and back: what their dropped events added up to."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from hivewire import codec
from hivewire.events.kept import (
    AgentRemembered,
    InitiativeSnapshot,
    PhaseSnapshot,
    ReplaySnapshot,
    Snapshot,
    TaskSnapshot,
)
from hivewire.events.task import TaskAssigned, TaskCreated
from hivewire_broker.evolve import evolve
from hivewire_broker.phase import Initiative, Phase
from hivewire_broker.replays import Replay
from hivewire_broker.state import History, State
from hivewire_broker.task import Standing, Task


class KeptTask(Standing, kw_only=True, omit_defaults=True):
    """A task as a snapshot holds it. `created` says what is known of it by then, without the payload."""

    created: TaskCreated
    ordinal: int
    updated_at: datetime
    assigned: list[TaskAssigned] = []


STOOD = Standing.__struct_fields__

_tasks = msgspec.json.Decoder(KeptTask)
_phases = msgspec.json.Decoder(Phase)
_initiatives = msgspec.json.Decoder(Initiative)
_replays = msgspec.json.Decoder(Replay)


def kept_task(snapshot: TaskSnapshot) -> KeptTask:
    """What a snapshot holds."""
    return _tasks.decode(snapshot.state)


def restore(state: State, snapshots: Iterable[Snapshot]) -> dict[str, KeptTask]:
    """Begin a state with snapshots, in whatever order they come; the tasks among them."""
    known = list(snapshots)
    initiatives = [_initiatives.decode(each.state) for each in known if isinstance(each, InitiativeSnapshot)]
    for initiative in sorted(initiatives, key=lambda each: each.ordinal):
        state.initiatives[initiative.initiative_id] = initiative
    phases = [_phases.decode(each.state) for each in known if isinstance(each, PhaseSnapshot)]
    for phase in sorted(phases, key=lambda each: each.ordinal):
        state.add_phase(phase)
    for replay in (_replays.decode(each.state) for each in known if isinstance(each, ReplaySnapshot)):
        state.replays[replay.replay_id] = replay
    tasks = [kept_task(each) for each in known if isinstance(each, TaskSnapshot)]
    restore_tasks(state, sorted(tasks, key=lambda each: each.ordinal))
    return {kept.created.task_id: kept for kept in tasks}


def restore_tasks(state: State, kept_tasks: Sequence[KeptTask]) -> None:
    """Begin a state with tasks as they stood, oldest first. Their phases are known."""
    tasks = [_restored(state, kept) for kept in kept_tasks]
    state.dependents.clear()  # what they wait for can be said only now that all of them are known
    for task in tasks:
        if task.ended:
            state.end(task)
            continue
        state.watch_dependencies(task)
        state.take_up(task)


def _restored(state: State, kept: KeptTask) -> Task:
    state.last_ordinal = kept.ordinal - 1
    evolve(state, kept.created)
    task = state.tasks[kept.created.task_id]
    for name in STOOD:
        setattr(task, name, getattr(kept, name))
    return task


def phase_state(phase: Phase) -> msgspec.Raw:
    """A phase without what follows from its tasks."""
    return codec.raw(msgspec.structs.replace(phase, open={}, bad={}, completed=0))


def initiative_state(initiative: Initiative) -> msgspec.Raw:
    """An initiative without what follows from its phases."""
    return codec.raw(msgspec.structs.replace(initiative, phases={}))


def remembered(agent_id: str, history: History) -> AgentRemembered:
    """What is known of an agent."""
    return AgentRemembered(agent_id=agent_id, **msgspec.structs.asdict(history))
