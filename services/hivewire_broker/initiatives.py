"""Initiatives: what people ask for them, most of it for all of their phases at once."""

from collections.abc import Callable
from datetime import datetime

from hivewire.commands.broker import CreateInitiative, OfInitiative
from hivewire.events import Event
from hivewire.events.initiative import InitiativeCompleted, InitiativeCreated
from hivewire.events.phase import PhaseBlocked
from hivewire.subjects import is_token
from hivewire_broker import phases
from hivewire_broker.phase import Initiative, Phase
from hivewire_broker.state import State
from hivewire_service.core import NOTHING, Command, Refusal, Step


def create(state: State, command: Command, now: datetime) -> Step | Refusal:
    """A new initiative, or the same one again."""
    data: CreateInitiative = command.data
    initiative_id = data.id or command.id
    if not is_token(initiative_id):
        return Refusal(f"the command's id {initiative_id[:40]!r} can't be an initiative's id: give it one", 400)
    content_hash = phases.content_hash_of(command.sender, data)
    known = state.initiatives.get(initiative_id)
    if known is not None:
        if known.content_hash == content_hash:
            return NOTHING
        return Refusal(f"initiative {initiative_id} is known with other content: take another id", 409)
    created = InitiativeCreated(
        initiative_id=initiative_id,
        title=data.title,
        sender=command.sender,
        content_hash=content_hash,
        created_at=now,
        description=data.description,
        requires_approval=data.requires_approval,
        metadata=data.metadata.copy(),
    )
    return Step([created])


def approve(state: State, command: Command, _now: datetime) -> Step | Refusal:
    """Approve every phase that waits for it."""
    data: OfInitiative = command.data
    return _for_each(
        state,
        command,
        lambda phase: phase.status == "pending" and not phase.approved,
        lambda phase: phases.approved(phase, command.sender, data.reason),
    )


def queue(state: State, command: Command, _now: datetime) -> Step | Refusal:
    """Queue every phase that is approved."""
    return _for_each(
        state,
        command,
        lambda phase: phase.status == "pending" and phase.approved and not phase.queued,
        phases.queued,
    )


def block(state: State, command: Command, _now: datetime) -> Step | Refusal:
    """Block every phase that has not ended."""
    data: OfInitiative = command.data
    reason = data.reason or f"blocked by {command.sender}"
    return _for_each(
        state,
        command,
        lambda phase: phase.status in {"pending", "running"},
        lambda phase: PhaseBlocked(phase_id=phase.phase_id, reason=reason),
    )


def unblock(state: State, command: Command, _now: datetime) -> Step | Refusal:
    """Unblock every phase that no task of its own keeps blocked."""
    data: OfInitiative = command.data
    return _for_each(
        state,
        command,
        lambda phase: phase.status == "blocked" and not phase.bad,
        lambda phase: phases.unblocked(phase, data.reason),
    )


def complete(state: State, command: Command, now: datetime) -> Step | Refusal:
    """No more phases will come, and all that there are have completed."""
    initiative = _named(state, command)
    if isinstance(initiative, Refusal):
        return initiative
    if initiative.status == "completed":
        return NOTHING
    uncompleted = [phase_id for phase_id in initiative.phases if state.phases[phase_id].status != "completed"]
    if uncompleted:
        shown = f"{len(uncompleted)} of its phases are not, such as {uncompleted[0]}"
        return Refusal(f"initiative {initiative.initiative_id} can't be completed: {shown}", 409)
    return Step([InitiativeCompleted(initiative_id=initiative.initiative_id, by=command.sender, completed_at=now)])


def _for_each(
    state: State, command: Command, fits: Callable[[Phase], bool], event: Callable[[Phase], Event]
) -> Step | Refusal:
    initiative = _named(state, command)
    if isinstance(initiative, Refusal):
        return initiative
    of_it = (state.phases[phase_id] for phase_id in initiative.phases)
    return Step([event(phase) for phase in of_it if fits(phase)])


def _named(state: State, command: Command) -> Initiative | Refusal:
    data: OfInitiative = command.data
    return state.initiatives.get(data.initiative_id) or Refusal(f"there is no initiative {data.initiative_id!r}", 404)
