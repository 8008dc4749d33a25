"""Deciding about what operators ask of a simulation's life: create, configure, start, pause, reset."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from hivewire.commands.tick_engine import Configure, Create, Pause, Reset, Start
from hivewire.events.simulation import (
    SimulationConfigured,
    SimulationCreated,
    SimulationEvent,
    SimulationPaused,
    SimulationReset,
    SimulationStarted,
)
from hivewire.simulation import Registered, SimulationConfig, config_problems
from hivewire_service.core import Command, Refusal
from hivewire_tick_engine.sending import Post, send
from hivewire_tick_engine.state import Simulation
from hivewire_tick_engine.states import allows

PROBLEMS_SHOWN = 10

Simulations = dict[str, Simulation]
Decided = Iterator[SimulationEvent] | Refusal


def create(simulations: Simulations, command: Command, callables: AbstractSet[str]) -> Decided:
    """A new simulation. The same one again is fine."""
    data: Create = command.data
    known = simulations.get(data.simulation_id)
    config = _config(data)
    if known is not None:
        same = (known.title, known.config) == (data.title or data.simulation_id, config)
        return iter(()) if same else Refusal(f"simulation {data.simulation_id!r} exists with other content", 409)
    refusal = _refused(config, callables) if config.agents or config.graph.edges else None
    return refusal or _created(simulations, data, command.sender, config)


def configure(simulation: Simulation, data: Configure, callables: AbstractSet[str]) -> Decided:
    """Another configuration."""
    if not allows(simulation.status, "simulation.configured"):
        return Refusal(f"the configuration is locked while the simulation is {simulation.status}: reset it first", 409)
    config = _config(data)
    return _refused(config, callables) or _reconfigured(simulation, config)


def start(simulation: Simulation, _data: Start) -> Decided:
    """Run, or go on."""
    if simulation.status == "running":
        return iter(())
    if simulation.budget_left == 0:
        return Refusal(f"the tick budget of {simulation.config.tick_budget} is used up: reset the simulation", 409)
    return _unless_illegal(simulation, SimulationStarted(**_at(simulation)))


def pause(simulation: Simulation, _data: Pause) -> Decided:
    """Do not tick."""
    if simulation.status == "paused":
        return iter(())
    if simulation.status != "running":
        return Refusal(f"the simulation is {simulation.status}: only one that runs can be paused", 409)
    return iter((SimulationPaused(**_at(simulation)),))


def reset(simulation: Simulation, data: Reset) -> Decided:
    """A new run at tick 0."""
    if not allows(simulation.status, "simulation.reset"):
        return iter(())
    return _reset(simulation, keep_workflow=data.keep_workflow)


def configured(simulation: Simulation, config: SimulationConfig) -> Iterator[SimulationEvent]:
    """Take a configuration, and let its first messages wait."""
    yield SimulationConfigured(**_at(simulation), config=config)
    for first in config.messages:
        yield from send(
            simulation, Post(sender=first.sender, target=first.target, content=first.content, tick=0, due=1)
        )


def _created(simulations: Simulations, data: Create, by: str, config: SimulationConfig) -> Iterator[SimulationEvent]:
    title = data.title or data.simulation_id
    yield SimulationCreated(simulation_id=data.simulation_id, tick=0, by=by, title=title)
    if config.agents:
        yield from configured(simulations[data.simulation_id], config)


def _reconfigured(simulation: Simulation, config: SimulationConfig) -> Iterator[SimulationEvent]:
    """Messages that wait belong to the configuration that they were handed in under."""
    if simulation.totals.messages:
        yield SimulationReset(simulation_id=simulation.simulation_id, tick=0, run=simulation.run + 1)
    yield from configured(simulation, config)


def _reset(simulation: Simulation, *, keep_workflow: bool) -> Iterator[SimulationEvent]:
    config = simulation.config
    yield SimulationReset(simulation_id=simulation.simulation_id, tick=0, run=simulation.run + 1)
    if keep_workflow:
        yield from configured(simulation, config)


def _unless_illegal(simulation: Simulation, event: SimulationEvent) -> Decided:
    if allows(simulation.status, event.type):
        return iter((event,))
    hint = "configure it first" if simulation.status == "created" else "reset it first"
    return Refusal(f"the simulation is {simulation.status}: {hint}", 409)


def _at(simulation: Simulation) -> dict[str, Any]:
    return {"simulation_id": simulation.simulation_id, "tick": simulation.tick}


def _config(data: SimulationConfig) -> SimulationConfig:
    """The configuration that a command holds."""
    return SimulationConfig(**{name: getattr(data, name) for name in SimulationConfig.__struct_fields__})


def _refused(config: SimulationConfig, callables: AbstractSet[str]) -> Refusal | None:
    if not config.agents:
        return Refusal("a simulation needs agents", 422)
    found = config_problems(config)
    found += [
        f"agent {agent.id!r} wants the callable {agent.behaviour.name!r}, which the operator did not register"
        for agent in config.agents
        if isinstance(agent.behaviour, Registered) and agent.behaviour.name not in callables
    ]
    if not found:
        return None
    more = len(found) - PROBLEMS_SHOWN
    shown = "; ".join(found[:PROBLEMS_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    return Refusal(shown, 422, msgspec.to_builtins({"problems": found[:PROBLEMS_SHOWN]}))
