"""What the broker keeps, and for how long."""

from collections.abc import Iterable, Sequence

import asyncpg

from hivewire import codec
from hivewire.events import Event
from hivewire.events.kept import InitiativeSnapshot, PhaseSnapshot, ReplaySnapshot, Snapshot, TaskRemoved, TaskSnapshot
from hivewire_broker.as_of import fold_through
from hivewire_broker.core import Broker
from hivewire_broker.rows import SQL
from hivewire_broker.snapshots import initiative_state, phase_state, remembered
from hivewire_service.core import Step
from hivewire_service.retention import Cut, Keeping, Kind

STEP_AGENTS = 500


def keeping(broker: Broker) -> Keeping:
    """Ended tasks go; phases, initiatives and replays, which are few, stay. What is known of agents is carried along."""

    async def phases(_connection: asyncpg.Connection, ids: Sequence[str], cut: Cut) -> Iterable[Snapshot]:
        known = broker.state.phases
        return [
            PhaseSnapshot(phase_id=key, as_of=cut.as_of, through=cut.through, state=phase_state(known[key]))
            for key in ids
        ]

    async def initiatives(_connection: asyncpg.Connection, ids: Sequence[str], cut: Cut) -> Iterable[Snapshot]:
        known = broker.state.initiatives
        return [
            InitiativeSnapshot(
                initiative_id=key, as_of=cut.as_of, through=cut.through, state=initiative_state(known[key])
            )
            for key in ids
        ]

    async def replays(_connection: asyncpg.Connection, ids: Sequence[str], cut: Cut) -> Iterable[Snapshot]:
        known = broker.state.replays
        return [
            ReplaySnapshot(replay_id=key, as_of=cut.as_of, through=cut.through, state=codec.raw(known[key]))
            for key in ids
        ]

    async def histories(connection: asyncpg.Connection, cut: Cut) -> Step:
        rows = await connection.fetch(SQL.histories_to_remember, cut.as_of, STEP_AGENTS)
        return Step([remembered(row["agent_id"], broker.state.history[row["agent_id"]]) for row in rows])

    kinds = (
        Kind("initiative", "initiative", InitiativeSnapshot, initiatives),
        Kind("phase", "phase", PhaseSnapshot, phases),
        Kind("replay", "replay", ReplaySnapshot, replays),
        Kind("task", "task", TaskSnapshot, _tasks, dated=True, expired=SQL.expired_tasks, removed=_removed),
    )
    return Keeping(kinds, carry=histories)


async def _tasks(connection: asyncpg.Connection, ids: Sequence[str], cut: Cut) -> Iterable[Snapshot]:
    folded = await fold_through(connection, ids, cut.through)
    rows = await connection.fetch(SQL.ordinals, list(folded))
    return [
        TaskSnapshot(
            task_id=row["task_id"],
            as_of=cut.as_of,
            through=cut.through,
            state=folded[row["task_id"]].state(row["ordinal"]),
        )
        for row in rows
    ]


def _removed(task_id: str) -> Event:
    return TaskRemoved(task_id=task_id)
