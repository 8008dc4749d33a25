"""The tables, and the diagrams drawn from them."""

from typing import get_args

import pytest

from hivewire.events import task as events
from hivewire.views import TERMINAL, AttemptStatus, TaskStatus
from hivewire_broker.diagram import markdown
from hivewire_broker.evolve import evolve
from hivewire_broker.state import State
from hivewire_broker.states import ATTEMPT, TASK, IllegalTransition, next_attempt_status, next_task_status

TYPES = {event.type for event in events.EVENTS}


def test_tables_speak_of_known_events_and_statuses():
    for table, statuses in ((TASK, set(get_args(TaskStatus))), (ATTEMPT, set(get_args(AttemptStatus)))):
        assert set(table) - {None} <= statuses
        for transitions in table.values():
            assert set(transitions) <= TYPES
            assert set(transitions.values()) <= set(table)


def test_every_event_has_a_place_in_the_table_of_tasks():
    assert {event for transitions in TASK.values() for event in transitions} == TYPES


def test_a_completed_task_never_changes():
    assert TASK["completed"] == {}
    assert all(set(TASK[status]) <= {"task.reopened"} for status in TERMINAL)


def test_a_missing_entry_refuses():
    with pytest.raises(IllegalTransition, match="task.started cannot happen to a task that is pending"):
        next_task_status("pending", "task.started")
    with pytest.raises(IllegalTransition, match="an attempt that is not there"):
        next_attempt_status(None, "task.completed")


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


def test_diagrams_show_every_transition():
    text = markdown()
    assert "[*] --> pending: created" in text
    assert "assigned --> running: progress, started" in text
    assert "completed --> [*]" in text
    assert text.count("```mermaid") == 2
