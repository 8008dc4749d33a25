"""Simulations: whoever makes one need not name it."""

import msgspec

from hivewire import fields
from hivewire.commands.tick_engine import Create, Edit, Fork, NewId, Tick
from hivewire.ids import new_id
from hivewire.simulation import SimulationConfig
from hivewire.subjects import TICK_ENGINE
from hivewire_agent_gateway.door.calls import Call
from hivewire_agent_gateway.door.table import Own


class NewSimulation(SimulationConfig, frozen=True, kw_only=True, omit_defaults=True):
    """Make a simulation; without agents it waits to be configured."""

    simulation_id: NewId | None = None
    title: fields.Title | None = None


class NewFork(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Make a simulation of what this one was right after the tick `at`. It is paused."""

    fork_id: NewId | None = None
    at: fields.Count
    title: fields.Title | None = None
    edit: Edit = Edit()


async def create(call: Call) -> object:
    """Make a simulation."""
    simulation_id = call.decode(NewSimulation).simulation_id or new_id()
    return await call.command(TICK_ENGINE, "create", call.decode(Create, simulation_id=simulation_id))


async def fork(call: Call) -> object:
    """Make a simulation of another one's past."""
    fork_id = call.decode(NewFork).fork_id or new_id()
    return await call.command(TICK_ENGINE, "fork", call.decode(Fork, fork_id=fork_id, **call.path))


async def tick(call: Call) -> object:
    """Advance by a single tick."""
    return await call.command(TICK_ENGINE, "tick", call.decode(Tick, count=1, **call.path))


ONE_TICK = Own(tick, Tick, unsaid=("count",))
