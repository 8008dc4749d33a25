"""What whoever answers a dispatch is told beside the message."""

from typing import Any

from hivewire_tick_engine.state import Dispatch, Simulation


def surroundings(simulation: Simulation, dispatch: Dispatch) -> dict[str, Any]:
    """Where the message comes from, and what its agent heard before."""
    return {
        "simulation_id": simulation.simulation_id,
        "run": simulation.run,
        "tick": dispatch.sent_tick,
        "dispatch_id": dispatch.dispatch_id,
        "agent_id": dispatch.agent_id,
        "from": dispatch.asked_by,
        "seed": simulation.config.seed,
        "history": simulation.memory.of(dispatch.agent_id),
    }
