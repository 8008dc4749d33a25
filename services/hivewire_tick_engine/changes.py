"""What one commit changes in the tables of simulations, collected from its events. Each row is written once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hivewire import codec
from hivewire.events import Event
from hivewire.events.simulation import (
    DispatchResponded,
    DispatchSent,
    DispatchTimedOut,
    MessageBlocked,
    MessageDelivered,
    MessageDropped,
    MessageSent,
    SimulationCreated,
    SimulationEvent,
    SimulationReset,
    TickAdvanced,
)
from hivewire.simulation import MessageStatus
from hivewire_tick_engine.state import Simulation

Message = tuple[str, int, int]
"""(simulation, run, number)"""


@dataclass(slots=True)
class Fate:
    """What became of a message; None is unchanged."""

    sent: MessageSent | MessageBlocked | MessageDropped | None = None
    status: MessageStatus = "waiting"
    delivered_tick: int | None = None
    dispatch_id: str | None = None


@dataclass(slots=True)
class Touched:
    """What happened to one simulation. Places are those of its events in the commit, from 1."""

    run: int
    last: int = 0
    first_of_run: int = 0
    """0: the run began before."""
    reconfigured: bool = False
    reset: bool = False
    events: int = 0


@dataclass(slots=True)
class Changes:
    """All changes of one commit."""

    simulations: Mapping[str, Simulation]
    touched: dict[str, Touched] = field(default_factory=dict)
    ticks: list[tuple[str, int, int, int, str]] = field(default_factory=list)
    fates: dict[Message, Fate] = field(default_factory=dict)

    def collect(self, events: Sequence[Event]) -> None:
        resets: dict[str, int] = {}
        for event in events:
            if isinstance(event, SimulationReset):
                resets.setdefault(event.simulation_id, event.run)
        for place, event in enumerate(events, start=1):
            if isinstance(event, SimulationEvent):
                name = event.simulation_id
                if name not in self.touched:
                    self.touched[name] = Touched(resets[name] - 1 if name in resets else self.simulations[name].run)
                self._add(place, event, self.touched[name])

    def _add(self, place: int, event: SimulationEvent, touched: Touched) -> None:
        touched.last = place
        touched.events += 1
        touched.reconfigured |= event.type in {"simulation.configured", "simulation.edited", "simulation.reset"}
        match event:
            case SimulationCreated():
                touched.first_of_run, touched.reconfigured = place, True
            case SimulationReset(run=run):
                touched.run, touched.first_of_run, touched.reset = run, place, True
            case TickAdvanced():
                self.ticks.append((event.simulation_id, touched.run, event.tick, place, event.state_hash))
            case _:
                self._follow(event, touched.run)

    def _follow(self, event: SimulationEvent, run: int) -> None:
        """Keep what an event says of a message."""
        message_id = getattr(event, "message_id", None)
        if message_id is None:
            return
        fate = self.fates.setdefault((event.simulation_id, run, int(message_id[1:])), Fate())
        match event:
            case MessageSent():
                fate.sent = event
            case MessageBlocked():
                fate.sent, fate.status = event, "blocked"
            case MessageDropped():
                fate.sent, fate.status = event, "dropped"
            case MessageDelivered():
                fate.status, fate.delivered_tick = "delivered", event.tick
            case DispatchSent():
                fate.status, fate.dispatch_id = "dispatched", event.dispatch_id
            case DispatchResponded():
                fate.status = "answered"
            case DispatchTimedOut():
                fate.status = "timed_out"

    # --- rows -----------------------------------------------------------------------------------------
    def simulation_rows(self) -> Iterable[tuple[Any, ...]]:
        for simulation_id, touched in self.touched.items():
            simulation = self.simulations[simulation_id]
            yield (
                simulation_id,
                simulation.title,
                simulation.created_by,
                simulation.forked_from,
                simulation.forked_at,
                simulation.status,
                simulation.run,
                touched.first_of_run,
                touched.last,
                simulation.tick,
                len(simulation.waiting),
                simulation.totals.messages,
                simulation.state_hash,
                codec.encode(simulation.config).decode() if touched.reconfigured else "",
            )

    def new_message_rows(self) -> Iterable[tuple[Any, ...]]:
        for key, fate in self.fates.items():
            if fate.sent is not None:
                sent = fate.sent
                yield (
                    *key,
                    sent.sender,
                    sent.target,
                    sent.kind,
                    fate.status,
                    sent.tick,
                    fate.delivered_tick,
                    sent.in_reply_to,
                    fate.dispatch_id,
                    None if isinstance(sent, MessageSent) else sent.reason,
                    codec.text(sent.content),
                )

    def changed_message_rows(self) -> Iterable[tuple[Any, ...]]:
        for key, fate in self.fates.items():
            if fate.sent is None and fate.status != "waiting":
                yield (*key, fate.status, fate.delivered_tick, fate.dispatch_id)
