"""What an event does to a simulation."""

from typing import Final

import msgspec

from hivewire import codec
from hivewire.events.simulation import (
    DispatchBuffered,
    DispatchResponded,
    DispatchSent,
    DispatchTimedOut,
    MessageBlocked,
    MessageDelivered,
    MessageDropped,
    MessageSent,
    SimulationConfigured,
    SimulationCreated,
    SimulationEdited,
    SimulationEvent,
    SimulationReset,
    TickAdvanced,
)
from hivewire_tick_engine.memory import Heard
from hivewire_tick_engine.state import TOO_MUCH, Delegated, Dispatch, Simulation
from hivewire_tick_engine.states import OF_THE_TABLE, following
from hivewire_tick_engine.waiting import Waiting

UNHASHED: Final = frozenset(
    {
        "simulation.created",
        "simulation.started",
        "simulation.paused",
        "simulation.completed",
        "simulation.reset",
    }
)
"""Events that bear on nothing that the agents do."""


def evolve(simulations: dict[str, Simulation], event: SimulationEvent) -> None:
    """Take in one event.

    Raises:
        IllegalTransition: it cannot happen in the simulation's status; nothing changed.
    """
    simulation = simulations.get(event.simulation_id)
    if event.type in OF_THE_TABLE:
        status = following(simulation.status if simulation else None, event.type)
        if isinstance(event, SimulationCreated):
            simulation = simulations[event.simulation_id] = _created(event)
        assert simulation is not None
        simulation.status = status
    assert simulation is not None
    _apply(simulation, event)
    simulation.totals.events += 1
    if event.type not in UNHASHED:
        simulation.note(codec.encode(event))


def _created(event: SimulationCreated) -> Simulation:
    simulation = Simulation(event.simulation_id, event.by, event.title)
    simulation.forked_from = event.forked_from
    simulation.forked_at = event.forked_at
    return simulation


def _apply(simulation: Simulation, event: SimulationEvent) -> None:
    match event:
        case MessageSent():
            _sent(simulation, event)
        case MessageBlocked() | MessageDropped():
            _not_sent(simulation, event)
        case MessageDelivered():
            _delivered(simulation, event)
        case DispatchSent() | DispatchBuffered() | DispatchResponded() | DispatchTimedOut():
            _dispatch(simulation, event)
        case TickAdvanced():
            simulation.tick = event.tick
        case SimulationConfigured(config=config):
            simulation.clear()
            simulation.configure(config)
        case SimulationEdited(added=added, removed=removed):
            simulation.edit(added, removed)
        case SimulationReset(run=run):
            simulation.clear()
            simulation.run = run


def _sent(simulation: Simulation, event: MessageSent) -> None:
    simulation.totals.messages += 1
    simulation.totals.sent += 1
    simulation.waiting.add(
        Waiting(
            message_id=event.message_id,
            sender=event.sender,
            target=event.target,
            kind=event.kind,
            due=event.due,
            content=event.content,
            in_reply_to=event.in_reply_to,
            part_of=event.part_of,
        )
    )
    if event.part_of is not None:
        simulation.parts[event.message_id] = event.part_of
        simulation.delegated[event.part_of].parts[event.message_id] = event.target
    _close(simulation, event.in_reply_to)


def _not_sent(simulation: Simulation, event: MessageBlocked | MessageDropped) -> None:
    simulation.totals.messages += 1
    simulation.totals.blocked += 1
    if event.part_of is not None:
        _collect(simulation, event.part_of, event.target, codec.raw({"error": event.reason}))
    _close(simulation, event.in_reply_to)


def _close(simulation: Simulation, answered: str | None) -> None:
    """A delegation ends with the answer to its message, whatever becomes of that answer."""
    delegated = simulation.delegated.pop(answered, None) if answered is not None else None
    if delegated is not None:
        simulation.under_way_bytes -= delegated.size_bytes


def _delivered(simulation: Simulation, event: MessageDelivered) -> None:
    message = simulation.waiting.take(event.message_id)
    simulation.totals.delivered += 1
    if message.target in simulation.agents:
        simulation.remember(message.target, Heard(event.tick, message.message_id, message.sender, message.content))
    root = simulation.parts.pop(message.in_reply_to, None) if message.in_reply_to else None
    if root is not None and root in simulation.delegated:
        target = simulation.delegated[root].parts.pop(message.in_reply_to or "")
        _collect(simulation, root, target, message.content)
    elif simulation.delegates(message):
        simulation.delegated[message.message_id] = Delegated(message.target, message.sender)


def _collect(simulation: Simulation, root: str, target: str, answer: msgspec.Raw) -> None:
    """Keep an answer to a part, or what became of it."""
    if simulation.is_crowded:
        answer = codec.raw({"error": TOO_MUCH})
    answers = simulation.delegated[root].answers
    simulation.under_way_bytes += len(bytes(answer)) - len(bytes(answers.get(target, b"")))
    answers[target] = answer


def _dispatch(
    simulation: Simulation, event: DispatchSent | DispatchBuffered | DispatchResponded | DispatchTimedOut
) -> None:
    match event:
        case DispatchSent():
            simulation.totals.dispatches += 1
            dispatch = simulation.dispatches[event.dispatch_id] = Dispatch(
                dispatch_id=event.dispatch_id,
                agent_id=event.agent_id,
                message_id=event.message_id,
                asked_by=event.asked_by,
                content=event.content,
                callable=event.callable,
                sent_tick=event.tick,
            )
            simulation.under_way_bytes += dispatch.size_bytes
        case DispatchBuffered():
            dispatch = simulation.dispatches[event.dispatch_id]
            simulation.under_way_bytes += len(bytes(event.content)) - len(bytes(dispatch.answer))
            dispatch.answered, dispatch.answer, dispatch.error = True, event.content, event.error
            simulation.buffered.append(event.dispatch_id)
        case DispatchResponded():
            simulation.under_way_bytes -= simulation.dispatches.pop(event.dispatch_id).size_bytes
            simulation.buffered.remove(event.dispatch_id)
        case DispatchTimedOut():
            simulation.under_way_bytes -= simulation.dispatches.pop(event.dispatch_id).size_bytes
