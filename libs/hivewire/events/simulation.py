"""Events of simulations, written by the tick engine.

They hold no time of day: the same configuration, seed and remote replies give the same events, byte for byte. Ids such
as `m17` and `d3` count within a run.
"""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from hivewire import fields
from hivewire.events.base import Event
from hivewire.graph import Edge
from hivewire.simulation import MessageKind, SimulationConfig


class SimulationEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of simulations. `tick` is the tick that it belongs to, or that was the last before it."""

    key: ClassVar[str] = "simulation_id"

    simulation_id: str
    tick: int


class SimulationCreated(SimulationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A simulation was made, perhaps as a fork of another."""

    type: ClassVar[str] = "simulation.created"

    by: str
    title: str = ""
    forked_from: str | None = None
    forked_at: int | None = None


class SimulationConfigured(SimulationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """It has agents, a graph and all that a run needs."""

    type: ClassVar[str] = "simulation.configured"

    config: SimulationConfig


class SimulationEdited(SimulationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A fork has other edges than the simulation that it was made of."""

    type: ClassVar[str] = "simulation.edited"

    added: list[Edge] = []
    removed: list[Edge] = []


class SimulationStarted(SimulationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """It runs, for the first time or again after a pause."""

    type: ClassVar[str] = "simulation.started"


class SimulationPaused(SimulationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """It does not tick until it is started again."""

    type: ClassVar[str] = "simulation.paused"

    reason: str = ""


class SimulationCompleted(SimulationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Its tick budget is used up."""

    type: ClassVar[str] = "simulation.completed"


class SimulationReset(SimulationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A new run begins, at tick 0."""

    type: ClassVar[str] = "simulation.reset"

    run: int


class TickAdvanced(SimulationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A tick is done. `state_hash` covers all that happened in the run up to here."""

    type: ClassVar[str] = "tick.advanced"

    events: int
    delivered: int
    sent: int
    blocked: int
    waiting: int
    state_hash: str


class SimulatedMessage(SimulationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the events of one message."""

    message_id: str
    sender: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")


class MessageSent(SimulatedMessage, frozen=True, kw_only=True, omit_defaults=True):
    """A message waits for delivery, in the tick `due` at the earliest. `part_of`: the message that was delegated."""

    type: ClassVar[str] = "message.sent"

    kind: MessageKind
    due: int
    in_reply_to: str | None = None
    part_of: str | None = None
    content: msgspec.Raw


class MessageBlocked(SimulatedMessage, frozen=True, kw_only=True, omit_defaults=True):
    """The graph does not let a message pass."""

    type: ClassVar[str] = "message.blocked_by_graph"

    reason: str
    kind: MessageKind
    in_reply_to: str | None = None
    part_of: str | None = None
    content: msgspec.Raw = fields.NULL


class MessageDropped(SimulatedMessage, frozen=True, kw_only=True, omit_defaults=True):
    """A message found no place: too many wait."""

    type: ClassVar[str] = "message.dropped"

    reason: str
    kind: MessageKind
    in_reply_to: str | None = None
    part_of: str | None = None
    content: msgspec.Raw = fields.NULL


class MessageDelivered(SimulatedMessage, frozen=True, kw_only=True, omit_defaults=True):
    """An agent, or the user, has a message."""

    type: ClassVar[str] = "message.delivered"


class DispatchEvent(SimulationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the events of one dispatch: a message that a remote agent, or a registered callable, has to answer."""

    dispatch_id: str
    agent_id: str
    message_id: str


class DispatchSent(DispatchEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent was asked; the simulation goes on. `callable` names the registered callable, where it is one."""

    type: ClassVar[str] = "dispatch.sent"

    asked_by: str
    content: msgspec.Raw
    callable: str | None = None


class DispatchBuffered(DispatchEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An answer came in and waits for the next tick."""

    type: ClassVar[str] = "dispatch.buffered"

    content: msgspec.Raw = fields.NULL
    error: str | None = None


class DispatchResponded(DispatchEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A tick took the answer up."""

    type: ClassVar[str] = "dispatch.responded"

    content: msgspec.Raw = fields.NULL
    error: str | None = None


class DispatchTimedOut(DispatchEvent, frozen=True, kw_only=True, omit_defaults=True):
    """No answer came in time; the one who asked gets an error message."""

    type: ClassVar[str] = "dispatch.timed_out"

    reason: str


EVENTS: tuple[type[SimulationEvent], ...] = (
    SimulationCreated,
    SimulationConfigured,
    SimulationEdited,
    SimulationStarted,
    SimulationPaused,
    SimulationCompleted,
    SimulationReset,
    TickAdvanced,
    MessageSent,
    MessageBlocked,
    MessageDropped,
    MessageDelivered,
    DispatchSent,
    DispatchBuffered,
    DispatchResponded,
    DispatchTimedOut,
)

CATALOGUE: Mapping[str, type[SimulationEvent]] = {event.type: event for event in EVENTS}
"""What the tick engine writes. Live messages have types of the same names."""
