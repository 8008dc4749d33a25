"""Phases: what people ask for them, and what follows from their tasks."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from hivewire import codec, limits
from hivewire.commands.broker import CreatePhase, DispatchNextPhase, OfPhase, UpdatePhase
from hivewire.events import Event
from hivewire.events.phase import (
    PhaseApproved,
    PhaseBlocked,
    PhaseCompleted,
    PhaseCreated,
    PhaseQueued,
    PhaseResumed,
    PhaseStarted,
    PhaseUnblocked,
    PhaseUpdated,
)
from hivewire.events.task import TaskQueued
from hivewire.subjects import is_token
from hivewire_broker.cycles import cycle_through
from hivewire_broker.draft import Draft
from hivewire_broker.phase import Phase
from hivewire_broker.state import State
from hivewire_service.core import NOTHING, Command, Refusal, Step

QUEUED_MAX: Final = 1_000
"""Tasks of started phases that one step queues; the others follow in the next step."""
_HASH_BYTES: Final = 16


# what people ask for ------------------------------------------------------------------------------------
def create(state: State, command: Command, now: datetime) -> Step | Refusal:
    """A new phase, or the same one again."""
    data: CreatePhase = command.data
    phase_id = data.id or command.id
    if not is_token(phase_id):
        return Refusal(f"the command's id {phase_id[:40]!r} can't be a phase's id: give the phase an id", 400)
    content_hash = content_hash_of(command.sender, data)
    known = state.phases.get(phase_id)
    if known is not None:
        if known.content_hash == content_hash:
            return NOTHING
        return Refusal(f"phase {phase_id} is known with other content: take another id", 409)
    depends_on = list(dict.fromkeys(data.depends_on))
    refusal = _impossible(state, data, phase_id, depends_on)
    if refusal is not None:
        return refusal
    created = PhaseCreated(
        phase_id=phase_id,
        title=data.title,
        sender=command.sender,
        content_hash=content_hash,
        created_at=now,
        initiative_id=data.initiative_id,
        description=data.description,
        depends_on=depends_on,
        metadata=data.metadata.copy(),
    )
    return Step([created])


def update(state: State, command: Command, _now: datetime) -> Step | Refusal:
    """Make a phase that has not started depend on other phases."""
    data: UpdatePhase = command.data
    phase = named(state, data.phase_id)
    if isinstance(phase, Refusal):
        return phase
    if phase.started_at is not None or phase.status == "completed":
        return Refusal(f"phase {phase.phase_id} has started: what it depends on can't be changed", 409)
    depends_on = list(dict.fromkeys(data.depends_on))
    unknown = _first_unknown(state, depends_on)
    if unknown is not None:
        return unknown
    cycle = cycle_through(phase.phase_id, depends_on, lambda needed: state.phases[needed].depends_on)
    if cycle is not None:
        return Refusal(f"dependency cycle: {cycle}")
    if tuple(depends_on) == phase.depends_on:
        return NOTHING
    return Step([PhaseUpdated(phase_id=phase.phase_id, by=command.sender, depends_on=depends_on)])


def approve(state: State, command: Command, _now: datetime) -> Step | Refusal:
    """The phase may be queued."""
    data: OfPhase = command.data
    phase = named(state, data.phase_id)
    if isinstance(phase, Refusal):
        return phase
    if phase.approved:
        return NOTHING
    if phase.status != "pending":
        return Refusal(f"phase {phase.phase_id} is {phase.status}: only a pending one can be approved", 409)
    return Step([approved(phase, command.sender, data.reason)])


def queue(state: State, command: Command, _now: datetime) -> Step | Refusal:
    """The phase starts by itself from now on, once its dependencies are completed."""
    data: OfPhase = command.data
    phase = named(state, data.phase_id)
    if isinstance(phase, Refusal):
        return phase
    if phase.queued:
        return NOTHING
    refusal = _unready(phase)
    return refusal or Step([queued(phase)])


def dispatch(state: State, command: Command, now: datetime) -> Step | Refusal:
    """Start a phase now."""
    data: OfPhase = command.data
    phase = named(state, data.phase_id)
    if isinstance(phase, Refusal):
        return phase
    refusal = _unready(phase)
    if refusal is not None:
        return refusal
    needed = _first_uncompleted(state, phase)
    if needed is not None:
        return Refusal(f"phase {phase.phase_id} waits for phase {needed.phase_id}, which is {needed.status}", 409)
    return Step([*([] if phase.queued else [queued(phase)]), _started(phase, now)])


def dispatch_next(state: State, command: Command, now: datetime) -> Step | Refusal:
    """Start the first phase that is approved and waits for no other."""
    data: DispatchNextPhase = command.data
    initiative_id = data.initiative_id
    if initiative_id is not None and initiative_id not in state.initiatives:
        return Refusal(f"there is no initiative {initiative_id!r}", 404)
    for phase in state.phases.values():
        wanted = initiative_id in (None, phase.initiative_id)
        if wanted and _unready(phase) is None and _first_uncompleted(state, phase) is None:
            return Step([*([] if phase.queued else [queued(phase)]), _started(phase, now)])
    return Refusal("no phase can start: none is approved, unblocked and free of unfinished dependencies", 409)


def block(state: State, command: Command, _now: datetime) -> Step | Refusal:
    """The phase does not start, or does not complete, until it is unblocked. Its tasks that are queued go on."""
    data: OfPhase = command.data
    phase = named(state, data.phase_id)
    if isinstance(phase, Refusal):
        return phase
    if phase.status == "completed":
        return Refusal(f"phase {phase.phase_id} is completed: there is nothing to block", 409)
    reason = data.reason or f"blocked by {command.sender}"
    if (phase.status, phase.reason) == ("blocked", reason):
        return NOTHING
    return Step([PhaseBlocked(phase_id=phase.phase_id, reason=reason)])


def unblock(state: State, command: Command, _now: datetime) -> Step | Refusal:
    """The phase goes on, unless one of its tasks ended without success."""
    data: OfPhase = command.data
    phase = named(state, data.phase_id)
    if isinstance(phase, Refusal):
        return phase
    if phase.status != "blocked":
        return Refusal(f"phase {phase.phase_id} is {phase.status}, not blocked", 409)
    if phase.bad:
        task_id = next(iter(phase.bad))
        advice = f"its task {task_id} ended without success: retry that one, or complete the phase"
        return Refusal(f"phase {phase.phase_id} can't go on: {advice}", 409)
    return Step([unblocked(phase, data.reason)])


def complete(state: State, command: Command, now: datetime) -> Step | Refusal:
    """The phase is done, whatever its tasks ended as."""
    data: OfPhase = command.data
    phase = named(state, data.phase_id)
    if isinstance(phase, Refusal):
        return phase
    if phase.status == "completed":
        return NOTHING
    if phase.started_at is None:
        return Refusal(f"phase {phase.phase_id} has not started: it can't be completed", 409)
    if phase.open:
        shown = f"{len(phase.open)} of its tasks have not ended, such as {next(iter(phase.open))}"
        return Refusal(f"phase {phase.phase_id} can't be completed: {shown}", 409)
    return Step([_completed(phase, now, command.sender)])


def named(state: State, phase_id: str) -> Phase | Refusal:
    """The phase with this id."""
    return state.phases.get(phase_id) or Refusal(f"there is no phase {phase_id!r}", 404)


def content_hash_of(sender: str, data: msgspec.Struct) -> str:
    """Tells a repeat from something else with the same id."""
    content: list[Any] = [sender, data]
    return hashlib.blake2b(codec.encode(content), digest_size=_HASH_BYTES).hexdigest()


def approved(phase: Phase, by: str, reason: str) -> Event:
    """The event that approves a phase."""
    return PhaseApproved(phase_id=phase.phase_id, by=by, reason=reason)


def queued(phase: Phase) -> Event:
    """The event that queues a phase."""
    return PhaseQueued(phase_id=phase.phase_id, initiative_id=phase.initiative_id, depends_on=list(phase.depends_on))


def unblocked(phase: Phase, reason: str) -> Event:
    """The event that lets a blocked phase go on."""
    if phase.started_at is None:
        return PhaseUnblocked(phase_id=phase.phase_id, reason=reason)
    return PhaseResumed(phase_id=phase.phase_id, reason=reason)


# what follows -------------------------------------------------------------------------------------------
def advance(draft: Draft, state: State, now: datetime) -> None:
    """Start, complete and block phases, and queue the tasks of those that started."""
    changed, state.phases_to_look_at = state.phases_to_look_at, {}
    for phase_id in changed:
        event = _due(state, state.phases[phase_id], now)
        if event is not None:
            draft.events.append(event)
    for _ in range(min(QUEUED_MAX, len(state.to_queue))):
        task = state.to_queue.popleft()
        if not (task.queued or task.ended or task.task_id in draft.fates):
            draft.events.append(
                TaskQueued(task_id=task.task_id, priority=task.priority, depends_on=list(task.depends_on))
            )


def pending(state: State) -> bool:
    """Whether `advance` has something to look at."""
    return bool(state.phases_to_look_at or state.to_queue)


def _due(state: State, phase: Phase, now: datetime) -> Event | None:
    """What has to become of a phase, as its tasks and the other phases stand."""
    if phase.status == "blocked" and phase.blocked_by is not None and phase.blocked_by not in phase.bad:
        if not phase.bad:
            return unblocked(phase, f"task {phase.blocked_by} is open again")
        return _blocked_by_task(phase)
    if phase.status in {"pending", "running"} and phase.bad:
        return _blocked_by_task(phase)
    if phase.status == "pending" and phase.queued and _first_uncompleted(state, phase) is None:
        return _started(phase, now)
    if phase.status == "running" and phase.completed and not phase.open:
        return _completed(phase, now)
    return None


def _blocked_by_task(phase: Phase) -> Event:
    task_id = next(iter(phase.bad))
    reason = f"its task {task_id} ended without success"
    return PhaseBlocked(phase_id=phase.phase_id, reason=reason, blocked_by=task_id)


def _started(phase: Phase, now: datetime) -> Event:
    return PhaseStarted(phase_id=phase.phase_id, initiative_id=phase.initiative_id, started_at=now)


def _completed(phase: Phase, now: datetime, by: str | None = None) -> Event:
    return PhaseCompleted(phase_id=phase.phase_id, initiative_id=phase.initiative_id, completed_at=now, by=by)


# what is possible ---------------------------------------------------------------------------------------
def _impossible(state: State, data: CreatePhase, phase_id: str, depends_on: Sequence[str]) -> Refusal | None:
    if data.initiative_id is not None:
        initiative = state.initiatives.get(data.initiative_id)
        if initiative is None:
            return Refusal(f"there is no initiative {data.initiative_id!r}: create it before its phases")
        if initiative.status == "completed":
            return Refusal(f"initiative {data.initiative_id} is completed: it takes no more phases", 409)
        if len(initiative.phases) >= limits.PHASES_OF_INITIATIVE_MAX:
            return Refusal(f"initiative {data.initiative_id} has {len(initiative.phases)} phases: it takes no more")
    if phase_id in depends_on:
        return Refusal("the phase depends on itself")
    return _first_unknown(state, depends_on)


def _first_unknown(state: State, phase_ids: Iterable[str]) -> Refusal | None:
    unknown = next((phase_id for phase_id in phase_ids if phase_id not in state.phases), None)
    if unknown is None:
        return None
    return Refusal(f"depends_on names the unknown phase {unknown!r}: create it before this one")


def _first_uncompleted(state: State, phase: Phase) -> Phase | None:
    needed = (state.phases[phase_id] for phase_id in phase.depends_on)
    return next((other for other in needed if other.status != "completed"), None)


def _unready(phase: Phase) -> Refusal | None:
    """Why the phase itself can neither be queued nor started."""
    if phase.status != "pending":
        return Refusal(f"phase {phase.phase_id} is {phase.status}: only a pending one can start", 409)
    if not phase.approved:
        return Refusal(f"phase {phase.phase_id} is not approved: approve it first", 409)
    return None
