"""What each event of phases and initiatives does to the state."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from hivewire.events import Event
from hivewire.events import initiative as initiatives
from hivewire.events import phase as events
from hivewire_broker.phase import Initiative, Phase
from hivewire_broker.state import State
from hivewire_broker.states import IllegalTransition, next_initiative_status, next_phase_status


def evolve(state: State, event: Event) -> None:
    """Change the state by an event of a phase or an initiative.

    Raises:
        IllegalTransition: the event does not fit the state, which is left as it was.
    """
    if isinstance(event, initiatives.InitiativeEvent):
        _evolve_initiative(state, event)
        return
    phase = state.phases.get(event.entity_id)
    status = next_phase_status(phase.status if phase else None, event.type)
    if isinstance(event, events.PhaseCreated):
        _created(state, event)
    elif phase is not None:
        phase.status = status
        _HANDLERS[type(event)](state, phase, event)
        state.phases_to_look_at[phase.phase_id] = None


def _evolve_initiative(state: State, event: initiatives.InitiativeEvent) -> None:
    initiative = state.initiatives.get(event.initiative_id)
    status = next_initiative_status(initiative.status if initiative else None, event.type)
    if isinstance(event, initiatives.InitiativeCreated):
        state.initiatives[event.initiative_id] = Initiative(
            initiative_id=event.initiative_id,
            ordinal=len(state.initiatives) + 1,
            content_hash=event.content_hash,
            requires_approval=event.requires_approval,
        )
    elif isinstance(event, initiatives.InitiativeCompleted) and initiative is not None:
        initiative.status = status
        initiative.ended_at = event.completed_at
    else:
        raise IllegalTransition(f"{event.type} is not known")


def _created(state: State, event: events.PhaseCreated) -> None:
    state.add_phase(
        Phase(
            phase_id=event.phase_id,
            ordinal=len(state.phases) + 1,
            content_hash=event.content_hash,
            initiative_id=event.initiative_id,
            depends_on=tuple(event.depends_on),
        )
    )


def _updated(state: State, phase: Phase, event: events.PhaseUpdated) -> None:
    state.watch_phases(phase, event.depends_on)


def _approved(_state: State, phase: Phase, _event: events.PhaseApproved) -> None:
    phase.approved = True


def _queued(_state: State, phase: Phase, _event: events.PhaseQueued) -> None:
    phase.queued = True


def _started(state: State, phase: Phase, event: events.PhaseStarted) -> None:
    phase.started_at = event.started_at
    state.queue_tasks_of(phase)


def _completed(state: State, phase: Phase, event: events.PhaseCompleted) -> None:
    phase.ended_at = event.completed_at
    phase.reason = None
    phase.blocked_by = None
    state.phases_to_look_at.update(state.phase_dependents.get(phase.phase_id, {}))


def _blocked(_state: State, phase: Phase, event: events.PhaseBlocked) -> None:
    phase.reason = event.reason
    phase.blocked_by = event.blocked_by


def _unblocked(_state: State, phase: Phase, _event: events.PhaseUnblocked | events.PhaseResumed) -> None:
    phase.reason = None
    phase.blocked_by = None


_HANDLERS: Final[Mapping[type[Event], Callable[[State, Phase, Any], None]]] = {
    events.PhaseUpdated: _updated,
    events.PhaseApproved: _approved,
    events.PhaseQueued: _queued,
    events.PhaseStarted: _started,
    events.PhaseCompleted: _completed,
    events.PhaseBlocked: _blocked,
    events.PhaseUnblocked: _unblocked,
    events.PhaseResumed: _unblocked,
}
