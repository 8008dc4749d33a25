"""What a recorded run says: replaying it, comparing two, and going on from one of its ticks.

The record of a run is its events. Those that came from outside (the configuration, messages that were handed in,
answers, seconds that ran out) are taken as they are; everything else must follow from them.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, zip_longest
from operator import attrgetter
from typing import Final

import msgspec

from hivewire import codec
from hivewire.commands.tick_engine import Edit, EditedReply, Fork
from hivewire.events.simulation import (
    DispatchBuffered,
    DispatchResponded,
    DispatchSent,
    DispatchTimedOut,
    SimulationCompleted,
    SimulationCreated,
    SimulationEdited,
    SimulationEvent,
    SimulationPaused,
    SimulationReset,
    TickAdvanced,
)
from hivewire.simulation import Difference, Seen, agent_graph
from hivewire_service.core import Refusal
from hivewire_tick_engine.evolve import evolve
from hivewire_tick_engine.state import Simulation
from hivewire_tick_engine.states import IllegalTransition
from hivewire_tick_engine.ticking import tick

FORK_EVENTS_MAX: Final = 200_000
"""A fork gets a copy of its history, in one commit."""
COMPARED_EVENTS_MAX: Final = 1_000_000
_BEGINS = (SimulationCreated, SimulationReset)
_LIFE: Final = frozenset({"simulation.started", "simulation.paused", "simulation.completed"})
"""What operators do when is no part of what a run is compared by."""


# --- replay -----------------------------------------------------------------------------------------
class Replay:
    """Runs a recorded run again, event by event as they are read."""

    def __init__(self) -> None:
        self.ticks = 0
        self.events = 0
        self.difference: Difference | None = None
        self._simulations: dict[str, Simulation] = {}
        self._tick: list[SimulationEvent] = []

    def add(self, event: SimulationEvent) -> None:
        """Take the next recorded event. After the first difference nothing is taken any more."""
        if self.difference is not None:
            return
        simulation = self._simulations.get(event.simulation_id)
        if simulation is None:
            if isinstance(event, SimulationReset):
                self._begin(event)
                return
        elif event.tick > simulation.tick:
            self._tick.append(event)
            if isinstance(event, TickAdvanced):
                self._compare(simulation)
            return
        try:
            evolve(self._simulations, event)
        except (IllegalTransition, KeyError):
            self._differ(event.tick, self.events, event, None)
            return
        self.events += 1

    def end(self) -> None:
        """The record ends here, perhaps in the middle of a tick."""
        for simulation in self._simulations.values():
            if self._tick and self.difference is None:
                self._compare(simulation)

    def _begin(self, event: SimulationReset) -> None:
        """A later run stands on its own."""
        simulation = Simulation(event.simulation_id, "")
        simulation.run = event.run
        self._simulations[event.simulation_id] = simulation
        self.events += 1

    def _compare(self, simulation: Simulation) -> None:
        recorded, self._tick = self._tick, []
        number = simulation.tick + 1
        overdue = {event.dispatch_id for event in recorded if isinstance(event, DispatchTimedOut)}
        again = self._again(simulation, overdue)
        for position, (one, other) in enumerate(zip_longest(recorded, again)):
            if one is None or other is None or one.type != other.type or codec.encode(one) != codec.encode(other):
                self._differ(number, position, one, other)
                return
            self.events += 1
        self.ticks += 1

    def _again(self, simulation: Simulation, overdue: set[str]) -> Iterator[SimulationEvent]:
        try:
            for event in tick(simulation, overdue):
                if isinstance(event, SimulationCompleted):
                    continue  # it is recorded behind its tick
                evolve(self._simulations, event)
                yield event
        except IllegalTransition:
            return  # the record ticks where none can be

    def _differ(self, tick: int, position: int, one: SimulationEvent | None, other: SimulationEvent | None) -> None:
        self.difference = Difference(tick, position, _shown(one), _shown(other))


# --- diff -------------------------------------------------------------------------------------------
def compare(one: Iterable[SimulationEvent], other: Iterable[SimulationEvent]) -> tuple[int, int, Difference | None]:
    """Two records, tick by tick: how many ticks and events are the same, and the first difference."""
    ticks = events = 0
    for first, second in zip_longest(_by_tick(one), _by_tick(other)):
        if first is None or second is None:
            break
        (number, ours), (_, theirs) = first, second
        for position, (left, right) in enumerate(zip_longest(ours, theirs)):
            if left is None or right is None or comparable(left) != comparable(right):
                return ticks, events, Difference(number, position, _shown(left), _shown(right))
            events += 1
        ticks = max(ticks, number)
    return ticks, events, None


def comparable(event: SimulationEvent) -> tuple[str, bytes]:
    """An event without the id of its simulation."""
    return event.type, codec.encode(msgspec.structs.replace(event, simulation_id=""))


def _by_tick(events: Iterable[SimulationEvent]) -> Iterator[tuple[int, list[SimulationEvent]]]:
    told = (event for event in events if event.type not in _LIFE and not isinstance(event, _BEGINS))
    for number, group in groupby(told, key=attrgetter("tick")):
        yield number, list(group)


def _shown(event: SimulationEvent | None) -> Seen | None:
    return None if event is None else Seen(event.type, codec.raw(event))


# --- fork -------------------------------------------------------------------------------------------
def fork_refused(source: Simulation, record: Sequence[SimulationEvent], data: Fork) -> Refusal | None:
    """Why a simulation cannot be forked so."""
    if data.at > source.tick:
        return Refusal(f"simulation {source.simulation_id!r} is at tick {source.tick}, and has no tick {data.at}", 422)
    if source.status == "created":
        return Refusal("the simulation has no configuration yet", 409)
    if len(record) > FORK_EVENTS_MAX:
        text = f"more than {FORK_EVENTS_MAX} events lie before tick {data.at}: fork at an earlier one"
        return Refusal(text, 422)
    if not record or (data.at and not any(isinstance(e, TickAdvanced) and e.tick == data.at for e in record)):
        return Refusal(f"tick {data.at} is not in the history: it is too old, or not stored yet", 409)
    return _edit_refused(source, record, data.edit)


def _edit_refused(source: Simulation, record: Sequence[SimulationEvent], edit: Edit) -> Refusal | None:
    ends = {agent_id for edge in edit.add_edges for agent_id in (edge.source, edge.target)}
    unknown = sorted(ends - source.agents.keys())
    if unknown:
        return Refusal(f"an edge names {unknown[0]!r}, which is no agent of the simulation", 422)
    have = {(edge.source, edge.target) for edge in agent_graph(source.config).edges}
    for edge in edit.remove_edges:
        if (edge.source, edge.target) not in have:
            return Refusal(f"there is no edge from {edge.source!r} to {edge.target!r} to remove", 422)
    if edit.reply is None:
        return None
    open_ones = {event.dispatch_id for event in record if isinstance(event, DispatchSent)}
    for event in record:
        if isinstance(event, (DispatchResponded, DispatchTimedOut)) and event.dispatch_id == edit.reply.dispatch_id:
            return Refusal(f"dispatch {event.dispatch_id} ended in tick {event.tick}: fork at an earlier one", 422)
    if edit.reply.dispatch_id not in open_ones:
        return Refusal(f"dispatch {edit.reply.dispatch_id!r} was not sent yet", 422)
    return None


def fork(
    simulations: dict[str, Simulation], source: Simulation, record: Sequence[SimulationEvent], data: Fork, by: str
) -> Iterator[SimulationEvent]:
    """A copy of the record up to the tick, and then what is different. Each event evolves before the next is made."""
    fork_id = data.fork_id
    yield SimulationCreated(
        simulation_id=fork_id,
        tick=0,
        by=by,
        title=data.title or f"{source.title}, from tick {data.at}",
        forked_from=source.simulation_id,
        forked_at=data.at,
    )
    edited = data.edit.reply.dispatch_id if data.edit.reply else None
    for event in record:
        if isinstance(event, (*_BEGINS, SimulationCompleted)):
            continue
        if isinstance(event, DispatchBuffered) and event.dispatch_id == edited:
            continue
        yield msgspec.structs.replace(event, simulation_id=fork_id)
    simulation = simulations[fork_id]
    if simulation.status != "paused":
        yield SimulationPaused(simulation_id=fork_id, tick=simulation.tick, reason="forked")
    if data.edit.add_edges or data.edit.remove_edges:
        yield SimulationEdited(
            simulation_id=fork_id,
            tick=simulation.tick,
            added=data.edit.add_edges,
            removed=data.edit.remove_edges,
        )
    if data.edit.reply is not None:
        yield _other_answer(simulation, data.edit.reply)


def _other_answer(simulation: Simulation, reply: EditedReply) -> DispatchBuffered:
    dispatch = simulation.dispatches[reply.dispatch_id]
    return DispatchBuffered(
        simulation_id=simulation.simulation_id,
        tick=simulation.tick,
        dispatch_id=dispatch.dispatch_id,
        agent_id=dispatch.agent_id,
        message_id=dispatch.message_id,
        content=reply.content,
        error=reply.error,
    )
