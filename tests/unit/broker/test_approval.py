"""Work that waits for approval, and how closely people look."""

from datetime import timedelta

import pytest

from hivewire_broker import oversight
from hivewire_broker.oversight import concern
from hivewire_service.core import Refusal


@pytest.fixture(autouse=True)
def ann(hive):
    hive.spawn("ann")


def finished(hive, task_id="t1", **fields):
    hive.submit(task_id, **{"requires_approval": True} | fields)
    hive.complete(task_id, result=b'{"answer":42}')


def test_approved_work_completes_with_its_result(hive):
    finished(hive)
    hive.submit("t2", depends_on=["t1"])
    assert (hive.status("t1"), hive.status("t2")) == ("pending_approval", "pending")
    assert hive.ask("approve", "t1", "well done").status == "completed"
    completed = hive.last("task.completed")
    assert (bytes(completed.result), completed.attempt, completed.agent_id) == (b'{"answer":42}', 1, "ann")
    assert hive.types("t1")[-3:] == ["pending_approval", "approved", "completed"]
    assert hive.status("t2") == "assigned"


def test_an_agent_is_free_while_its_work_waits_for_approval(hive):
    finished(hive)
    hive.submit("t2")
    assert hive.status("t2") == "assigned"
    assert hive.complete("t1", attempt=1, agent="ann", instance="ann-1").status == "pending_approval"


def test_rejected_work_is_done_again_with_feedback_and_spends_no_retry(hive):
    finished(hive, max_retries=0)
    hive.ask("reject", "t1", "too short")
    task = hive.task("t1")
    assert (task.status, len(task.attempts), task.retries_used, task.feedback) == ("assigned", 2, 0, "too short")
    hive.complete("t1")
    assert hive.ask("approve", "t1").status == "completed"
    assert hive.broker.state.history["ann"].completed == 1
    assert hive.broker.state.history["ann"].ended == 2


def test_finally_rejected_work_has_failed(hive):
    finished(hive)
    hive.submit("t2", depends_on=["t1"])
    assert hive.ask("reject", "t1", "wrong", final=True).status == "failed"
    assert (hive.task("t1").error, hive.status("t2")) == ("the work was rejected: wrong", "blocked")
    assert hive.retry("t1").status == "pending"
    assert (hive.status("t1"), hive.status("t2")) == ("assigned", "pending")


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_what_is_not_pending_approval_is_refused(hive, verb):
    hive.submit("t1")
    before = len(hive.events)
    refusal = hive.ask(verb, "t1")
    assert isinstance(refusal, Refusal)
    assert (refusal.status, hive.ask(verb, "nowhere").status, len(hive.events)) == (409, 404, before)
    assert "is assigned" in refusal.error


def test_the_tasks_own_word_counts_before_its_initiatives(hive):
    hive.ask("create_initiative", title="an initiative", id="i", requires_approval=True)
    hive.phase("p", initiative_id="i")
    for task, own in (("t1", None), ("t2", False), ("t3", True)):
        hive.submit(task, phase_id="p", requires_approval=own)
        hive.complete(task)
    assert [hive.status(task) for task in ("t1", "t2", "t3")] == ["pending_approval", "completed", "pending_approval"]
    assert hive.last("task.pending_approval").requested_by == "task"


def test_a_deadline_does_not_end_what_waits_for_approval(hive):

    finished(hive, deadline=hive.now + timedelta(seconds=10))
    hive.wait(60)
    assert hive.status("t1") == "pending_approval"


# oversight ------------------------------------------------------------------------------------------
def test_concern_by_hand():
    assert concern(1.0, 0.0, 0.0, 0.0) == 1.0
    assert concern(1.0, 0.0, 0.0, 1.0) == 0.5
    assert concern(0.8, 0.5, 0.5, 0.5) == pytest.approx(0.3)
    assert concern(1.0, 1.0, 1.0, 0.0) == 0.0


@pytest.mark.parametrize(
    ("fields", "level"),
    [
        ({}, "autonomous"),
        ({"risk": 0.2}, "autonomous"),
        ({"risk": 0.4}, "notify"),
        ({"risk": 0.8}, "review"),
        ({"risk": 0.9, "reversibility": 0.1}, "approve"),
        ({"risk": 1.0, "reversibility": 0.0, "verifiability": 0.0}, "supervise"),
    ],
)
def test_levels(hive, fields, level):
    hive.submit("t1", **fields)
    assert hive.last("task.assigned").oversight == level
    hive.complete("t1")
    assert hive.status("t1") == ("pending_approval" if level in oversight.APPROVED else "completed")


def test_without_an_attempt_the_owner_says_that_it_is_done(hive):
    hive.submit("t1", required_capabilities=["hands"])
    stranger = hive.ask("complete", "t1", sender="kim")
    assert (stranger.status, hive.status("t1")) == (403, "pending")
    assert hive.ask("complete", "t1", sender="boss").status == "completed"
    assert hive.ask("complete", "t1", sender="operator").status == "completed"
    hive.submit("t2")
    assert hive.ask("complete", "t2", sender="operator").status == 409
