"""Cancelling, trying again, and what becomes of dependents."""

from datetime import timedelta

import pytest

from hivewire_broker.draft import TellCancel


@pytest.fixture(autouse=True)
def ann(hive):
    hive.spawn("ann")


def test_a_pending_task_is_cancelled(hive):
    hive.submit("t1", required_capabilities=["x"])
    assert hive.cancel("t1", "no need").status == "cancelled"
    assert (hive.last("task.cancelled").by, hive.task("t1").reason) == ("boss", "no need")
    assert hive.cancel("t1").status == "cancelled"
    assert hive.types("t1").count("cancelled") == 1


def test_the_agent_of_a_cancelled_task_is_told_and_is_free_again(hive):
    hive.submit("t1")
    hive.submit("t2")
    hive.cancel("t1", "no need")
    (told,) = hive.take(TellCancel)
    assert (told.agent_id, told.task_id, told.attempt, told.reason) == ("ann", "t1", 1, "no need")
    assert hive.status("t2") == "assigned"
    assert hive.complete("t1").status == 409


def test_what_has_ended_cannot_be_cancelled(hive):
    hive.submit("t1")
    hive.complete("t1")
    assert (hive.cancel("t1").status, hive.cancel("nowhere").status) == (409, 404)


def test_dependents_run_when_all_they_need_is_completed(hive):
    hive.submit("a")
    hive.submit("b")
    hive.submit("c", depends_on=["a", "b"])
    hive.complete("a")
    hive.complete("b")
    assert hive.status("c") == "assigned"


def test_dependents_of_a_failed_task_are_blocked_and_come_back_with_it(hive):
    hive.submit("a")
    hive.submit("b", depends_on=["a"])
    hive.submit("c", depends_on=["b"])
    hive.fail("a", retry=False)
    assert (hive.status("b"), hive.status("c")) == ("blocked", "pending")
    assert hive.task("b").blocked_by == "a"
    assert "ended failed" in hive.task("b").reason
    hive.retry("a")
    assert hive.status("b") == "pending"
    for task in ("a", "b", "c"):
        assert hive.complete(task).status == "completed"


def test_cancelling_dependents_goes_all_the_way(hive):
    hive.submit("a")
    hive.submit("b", depends_on=["a"], on_dependency_failure="cancel")
    hive.submit("c", depends_on=["b", "a"], on_dependency_failure="cancel")
    hive.submit("d", depends_on=["c"])
    hive.cancel("a")
    assert [hive.status(task) for task in "bcd"] == ["cancelled", "cancelled", "blocked"]
    assert hive.task("d").blocked_by == "c"
    assert hive.types("c").count("cancelled") == 1


def test_a_task_blocked_by_two_stays_blocked_by_the_other(hive):
    hive.submit("a", required_capabilities=["x"])
    hive.submit("b", required_capabilities=["x"])
    hive.submit("c", depends_on=["a", "b"])
    hive.cancel("b")
    hive.cancel("a")
    assert hive.task("c").blocked_by == "b"
    hive.retry("b")
    assert (hive.status("c"), hive.task("c").blocked_by) == ("blocked", "a")
    hive.retry("a")
    assert (hive.status("c"), hive.task("c").blocked_by) == ("pending", None)


def test_a_retried_task_has_a_fresh_budget_and_goes_on_counting_attempts(hive):
    hive.submit("t1", max_retries=0)
    hive.fail("t1")
    assert hive.status("t1") == "dead_lettered"
    hive.retry("t1")
    assert hive.status("t1") == "assigned"
    assert (hive.task("t1").retries_used, len(hive.task("t1").attempts)) == (0, 2)
    assert hive.complete("t1").status == "completed"
    assert hive.retry("t1").status == 409


def test_only_what_ended_badly_can_be_tried_again(hive):
    hive.submit("t1")
    assert (hive.retry("t1").status, hive.retry("nowhere").status) == (409, 404)


def test_a_passed_deadline_is_lifted_by_a_retry(hive):
    hive.submit("t1", deadline=hive.now + timedelta(seconds=5), required_capabilities=["x"])
    hive.wait(5)
    assert hive.status("t1") == "dead_lettered"
    hive.retry("t1")
    hive.wait(1000)
    assert hive.status("t1") == "pending"


def test_a_retried_task_whose_dependency_is_dead_is_blocked_or_refused(hive):
    hive.submit("a", required_capabilities=["x"])
    hive.submit("b", depends_on=["a"])
    hive.submit("c", depends_on=["a"], on_dependency_failure="cancel")
    hive.cancel("b")
    hive.cancel("a")
    assert hive.retry("b").status == "blocked"
    refusal = hive.retry("c")
    assert (refusal.status, "task a" in refusal.error) == (409, True)


def test_many_tasks_may_lose_the_same_dependent_at_once(hive):
    """Two deadlines pass in one step, and both tasks are needed by a third."""
    deadline = hive.now + timedelta(seconds=5)
    for name in ("a", "b"):
        hive.submit(name, deadline=deadline, required_capabilities=["x"])
    hive.submit("c", depends_on=["a", "b"], on_dependency_failure="cancel")
    hive.submit("d", depends_on=["a", "b"], deadline=deadline)
    hive.wait(10)
    assert [hive.status(task) for task in "abcd"] == ["dead_lettered", "dead_lettered", "cancelled", "dead_lettered"]


def test_ended_tasks_are_forgotten_but_none_that_live_ones_need(hive):
    hive.broker.state._ended_max = 2
    hive.submit("needed", required_capabilities=["x"])
    hive.submit("waits", depends_on=["needed"])
    hive.cancel("needed")
    for n in range(5):
        hive.submit(f"t{n}")
        hive.complete(f"t{n}")
    hive.broker.state.forget_old()
    hive.broker.state.forget_old()
    assert "needed" in hive.broker.state.tasks
    assert len(hive.broker.state.tasks) <= 4
    hive.retry("needed")
    assert hive.status("waits") == "pending"
