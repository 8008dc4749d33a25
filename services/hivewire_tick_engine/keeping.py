"""What the tick engine keeps, and for how long.

Simulations stay until somebody wants them gone. The history of a run is kept as long as all history: then the run can go
on, from the snapshot that its table holds, but can't be replayed or forked any more.
"""

import asyncpg

from hivewire_service.core import Step
from hivewire_service.retention import Cut, Keeping
from hivewire_tick_engine.rows import SQL, SimulationRows, TakeSnapshot

STEP_SIMULATIONS = 20


def keeping(rows: SimulationRows) -> Keeping:
    """Before history goes, whatever is loaded with its help gets a newer snapshot. No event tells of it: the state of a
    simulation may be larger than a message."""

    async def snapshots(connection: asyncpg.Connection, cut: Cut) -> Step:
        found = await connection.fetch(SQL.behind, cut.through, STEP_SIMULATIONS)
        ids = [row["simulation_id"] for row in found]
        await rows.bring(connection, ids)
        return Step(records=[TakeSnapshot(simulation_id) for simulation_id in ids])

    return Keeping(carry=snapshots)
