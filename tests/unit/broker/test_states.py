"""The tables."""

from typing import get_args

import pytest

from hivewire.events import initiative, phase
from hivewire.events import task as events
from hivewire.views import TERMINAL, AttemptStatus, InitiativeStatus, PhaseStatus, TaskStatus
from hivewire_broker.evolve import evolve
from hivewire_broker.state import State
from hivewire_broker.states import (
    ATTEMPT,
    INITIATIVE,
    PHASE,
    TASK,
    IllegalTransition,
    next_attempt_status,
    next_initiative_status,
    next_phase_status,
    next_task_status,
)

TYPES = {event.type for event in events.EVENTS}
PHASE_TYPES = {event.type for event in phase.EVENTS}
INITIATIVE_TYPES = {event.type for event in initiative.EVENTS}


@pytest.mark.parametrize(
    ("table", "statuses", "types"),
    [
        (TASK, TaskStatus, TYPES),
        (ATTEMPT, AttemptStatus, TYPES),
        (PHASE, PhaseStatus, PHASE_TYPES),
        (INITIATIVE, InitiativeStatus, INITIATIVE_TYPES),
    ],
)
def test_tables_speak_of_known_events_and_statuses(table, statuses, types):
    assert set(table) - {None} == set(get_args(statuses))
    for transitions in table.values():
        assert set(transitions) <= types
        assert set(transitions.values()) <= set(table)


@pytest.mark.parametrize(("table", "types"), [(TASK, TYPES), (PHASE, PHASE_TYPES), (INITIATIVE, INITIATIVE_TYPES)])
def test_every_event_has_a_place_in_its_table(table, types):
    assert {event for transitions in table.values() for event in transitions} == types


def test_a_completed_task_never_changes():
    assert TASK["completed"] == {}
    assert all(set(TASK[status]) <= {"task.reopened"} for status in TERMINAL)


def test_a_missing_entry_refuses():
    with pytest.raises(IllegalTransition, match="task.started cannot happen to a task that is pending"):
        next_task_status("pending", "task.started")
    with pytest.raises(IllegalTransition, match="an attempt that is not there"):
        next_attempt_status(None, "task.completed")
    with pytest.raises(IllegalTransition, match="a phase that is not there"):
        next_phase_status(None, "phase.started")
    with pytest.raises(IllegalTransition, match="an initiative that is completed"):
        next_initiative_status("completed", "initiative.created")


def test_an_illegal_event_changes_nothing(hive):
    hive.spawn("ann")
    hive.submit("t1")
    hive.complete("t1")
    before = repr(hive.task("t1"))
    late = events.TaskCompleted(task_id="t1", attempt=1, agent_id="ann", completed_at=hive.now)
    with pytest.raises(IllegalTransition):
        evolve(hive.broker.state, late)
    assert repr(hive.task("t1")) == before
    with pytest.raises(IllegalTransition, match="unknown task"):
        evolve(State(), late)
