"""What can be asked of the tick engine."""

from typing import Annotated

import msgspec

from hivewire import fields
from hivewire.graph import Edge
from hivewire.simulation import TICKS_MAX, USER, SimulationConfig, Target

NewId = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=100,
        pattern=fields.ID_PATTERN,
        description="leaves room for the names of its sessions with remote agents",
    ),
]
TickCount = Annotated[int, msgspec.Meta(ge=1, le=TICKS_MAX)]


class Create(SimulationConfig, frozen=True, kw_only=True, omit_defaults=True):
    """Make a simulation; without agents it waits to be configured."""

    simulation_id: NewId
    title: fields.Title | None = None


class Configure(SimulationConfig, frozen=True, kw_only=True, omit_defaults=True):
    """Replace the configuration. Only before the first start, or after a reset."""

    simulation_id: fields.Token


class Start(msgspec.Struct):
    """Let a simulation run, or go on after a pause."""

    simulation_id: fields.Token


class Pause(msgspec.Struct):
    """Stop ticking. What is under way stays as it is."""

    simulation_id: fields.Token


class Reset(msgspec.Struct, omit_defaults=True):
    """Begin a new run at tick 0; `keep_workflow`: with the same configuration."""

    simulation_id: fields.Token
    keep_workflow: bool = True


class Tick(msgspec.Struct, omit_defaults=True):
    """Do `count` ticks; fewer if the simulation completes, or if they bring about very much. The reply says how many.

    `expected_tick` is the last tick that the sender knows of: another is refused.
    """

    simulation_id: fields.Token
    count: TickCount = 1
    expected_tick: fields.Count | None = None


class Message(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Hand in a message; it waits for its tick. `*` is everybody."""

    simulation_id: fields.Token
    sender: fields.Token = msgspec.field(name="from", default=USER)
    target: Target = msgspec.field(name="to")
    content: msgspec.Raw


class Respond(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A remote agent's answer to a dispatch, or its error. It waits for the next tick."""

    simulation_id: fields.Token
    dispatch_id: fields.Token
    content: msgspec.Raw = fields.NULL
    error: fields.ErrorText | None = None
    run: fields.Count | None = None


class EditedReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Another answer to a dispatch that was open at the fork."""

    dispatch_id: fields.Token
    content: msgspec.Raw = fields.NULL
    error: fields.ErrorText | None = None


class Edit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a fork does differently."""

    reply: EditedReply | None = None
    add_edges: list[Edge] = []
    remove_edges: list[Edge] = []


class Fork(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Make the simulation `fork_id` of what `simulation_id` was right after the tick `at`. It is paused."""

    simulation_id: fields.Token
    fork_id: NewId
    at: fields.Count
    title: fields.Title | None = None
    edit: Edit = Edit()


VERBS: dict[str, type[msgspec.Struct]] = {
    "create": Create,  # -> SimulationBrief, as for all
    "configure": Configure,
    "start": Start,
    "pause": Pause,
    "reset": Reset,
    "tick": Tick,
    "message": Message,
    "respond": Respond,
    "fork": Fork,
}
