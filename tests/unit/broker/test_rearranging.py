"""What a task depends on may be changed while no agent has it."""

import pytest

from hivewire_service.core import Refusal


def depend(hive, task_id: str, *needs: str):
    return hive.ask("update", task_id=task_id, depends_on=list(needs))


def test_a_task_waits_for_what_was_added(hive):
    hive.submit("a", required_capabilities=["x"])
    hive.submit("b", required_capabilities=["y"])
    depend(hive, "a", "b")
    hive.spawn("ann", "x", "y", slots=2)
    assert hive.assigned() == [("b", "ann")]
    hive.complete("b")
    assert hive.assigned() == [("b", "ann"), ("a", "ann")]


def test_it_goes_on_when_nothing_is_left_to_wait_for(hive):
    hive.submit("a", required_capabilities=["x"])
    hive.submit("b", depends_on=["a"])
    hive.spawn("ann")
    assert hive.assigned() == []
    depend(hive, "b")
    assert hive.assigned() == [("b", "ann")]


@pytest.mark.parametrize("length", [2, 3, 20])
def test_a_cycle_added_later_is_refused_and_named(hive, length):
    for number in range(length):
        hive.submit(f"t{number}", depends_on=[f"t{number - 1}"] if number else [])
    before = len(hive.events)
    refusal = depend(hive, "t0", f"t{length - 1}")
    assert isinstance(refusal, Refusal)
    assert refusal.error.startswith("dependency cycle: t0 -> t")
    assert len(hive.events) == before
    assert hive.task("t0").depends_on == ()


def test_a_cycle_through_a_task_that_failed_is_one_too(hive):
    hive.spawn("ann")
    hive.submit("a")
    hive.submit("b", depends_on=["a"])
    hive.cancel("b")
    assert isinstance(depend(hive, "a", "b"), Refusal)


def test_itself_and_the_unknown_are_refused(hive):
    hive.submit("a", required_capabilities=["x"])
    assert depend(hive, "a", "a").error == "dependency cycle: a -> a"
    assert "unknown task 'ghost'" in depend(hive, "a", "ghost").error


def test_only_while_no_agent_has_it(hive):
    hive.submit("a")
    hive.submit("b", required_capabilities=["x"])
    hive.spawn("ann")
    assert depend(hive, "a", "b").status == 409
    hive.complete("a")
    assert depend(hive, "a", "b").status == 409


def test_one_that_failed_blocks_it_and_another_sets_it_free(hive):
    hive.submit("a", required_capabilities=["x"])
    hive.submit("b", required_capabilities=["x"])
    hive.cancel("a")
    depend(hive, "b", "a")
    assert (hive.status("b"), hive.task("b").blocked_by) == ("blocked", "a")
    depend(hive, "b")
    assert hive.status("b") == "pending"
    hive.submit("c", depends_on=["b"], on_dependency_failure="cancel")
    depend(hive, "c", "a")
    assert hive.status("c") == "cancelled"


def test_what_a_person_blocked_stays_blocked(hive):
    hive.submit("a", required_capabilities=["x"])
    hive.submit("b", depends_on=["a"])
    hive.ask("block", "b")
    depend(hive, "b")
    assert hive.status("b") == "blocked"
