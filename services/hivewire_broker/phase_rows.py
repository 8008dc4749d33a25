"""Keeps phases and initiatives in their tables."""

from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg

from hivewire import codec
from hivewire.events import Event
from hivewire.events.initiative import InitiativeCreated, InitiativeEvent
from hivewire.events.phase import PhaseCreated, PhaseEvent
from hivewire_broker.phase import Initiative, Phase
from hivewire_broker.state import State
from hivewire_broker.stored import array_text
from hivewire_service.core import Write
from hivewire_service.queries import load_queries

SQL = load_queries("hivewire_broker", "queries.sql")


def writes(state: State, events: Sequence[Event]) -> Iterable[Write]:
    """The statements that make the tables equal to the state after `events`. Each row is written once."""
    yield from _initiatives(state, [event for event in events if isinstance(event, InitiativeEvent)])
    yield from _phases(state, [event for event in events if isinstance(event, PhaseEvent)])


async def read(connection: asyncpg.Connection, state: State) -> None:
    """Bring all phases and initiatives, with what became of their tasks that ended."""
    for row in await connection.fetch(SQL.load_initiatives):
        state.initiatives[row["initiative_id"]] = Initiative(**dict(row))
    for row in await connection.fetch(SQL.load_phases):
        state.phases[row["phase_id"]] = _phase(row)
    for phase in state.phases.values():
        state.add_phase(phase)
    for row in await connection.fetch(SQL.bad_tasks_of_phases):
        state.phases[row["phase_id"]].bad[row["task_id"]] = None
    for row in await connection.fetch(SQL.completed_tasks_of_phases):
        state.phases[row["phase_id"]].completed = row["tasks"]


def _phase(row: asyncpg.Record) -> Phase:
    fields: dict[str, Any] = dict(row)
    return Phase(**fields | {"depends_on": tuple(fields["depends_on"])})


def _initiatives(state: State, events: Sequence[InitiativeEvent]) -> Iterable[Write]:
    created = {event.initiative_id: event for event in events if isinstance(event, InitiativeCreated)}
    if created:
        rows = [
            (
                event.initiative_id,
                initiative.ordinal,
                event.title,
                event.sender,
                event.content_hash,
                event.created_at,
                event.description,
                event.requires_approval,
                codec.text(event.metadata),
                initiative.status,
                initiative.ended_at,
            )
            for event in created.values()
            if (initiative := state.initiatives[event.initiative_id])
        ]
        yield Write(SQL.insert_initiatives, tuple(zip(*rows, strict=True)))
    changed = dict.fromkeys(event.initiative_id for event in events if event.initiative_id not in created)
    if changed:
        standing = [state.initiatives[initiative_id] for initiative_id in changed]
        yield Write(
            SQL.update_initiatives, (tuple(changed), [i.status for i in standing], [i.ended_at for i in standing])
        )


def _phases(state: State, events: Sequence[PhaseEvent]) -> Iterable[Write]:
    created = {event.phase_id: event for event in events if isinstance(event, PhaseCreated)}
    if created:
        rows = [
            (
                event.phase_id,
                phase.ordinal,
                event.title,
                event.sender,
                event.content_hash,
                event.created_at,
                event.initiative_id,
                event.description,
                codec.text(event.metadata),
                *_standing(phase),
            )
            for event in created.values()
            if (phase := state.phases[event.phase_id])
        ]
        yield Write(SQL.insert_phases, tuple(zip(*rows, strict=True)))
    changed = dict.fromkeys(event.phase_id for event in events if event.phase_id not in created)
    if changed:
        standing = [(phase_id, *_standing(state.phases[phase_id])) for phase_id in changed]
        yield Write(SQL.update_phases, tuple(zip(*standing, strict=True)))


def _standing(phase: Phase) -> tuple[Any, ...]:
    """How the phase stands, in the order of `insert_phases` and `update_phases`."""
    return (
        array_text(phase.depends_on),
        phase.status,
        phase.approved,
        phase.queued,
        phase.reason,
        phase.blocked_by,
        phase.started_at,
        phase.ended_at,
    )
