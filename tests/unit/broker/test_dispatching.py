"""Giving tasks out by name, keeping them back, and changing them."""

from datetime import timedelta

import pytest

from hivewire import limits
from hivewire_broker.fleet import AgentSeen
from hivewire_broker.matching import Decision
from unit.broker.driver import Driver


# dispatch -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fields", [{"type": "checkpoint:human"}, {"category": "plan"}])
def test_what_is_given_out_by_name_only_waits_for_it_and_is_then_tried_again_by_itself(hive, fields):
    hive.spawn("ann")
    hive.submit("t1", **fields)
    assert hive.status("t1") == "pending"
    assert hive.ask("dispatch", "t1").status == "assigned"
    hive.fail("t1")
    hive.wait(60)
    assert len(hive.task("t1").attempts) == 2


def test_a_named_agent_is_not_scored_but_gated(hive):
    hive.spawn("ann", "python", slots=2)
    hive.spawn("bob", "python", "cobol")
    hive.spawn("kims", "python", owner="kim")
    hive.submit("t1", required_capabilities=["python"], category="plan")
    for agent, what in (("nobody", "no agent"), ("kims", "only for owner kim")):
        refusal = hive.ask("dispatch", "t1", agent)
        assert (refusal.status, hive.status("t1")) == (409, "pending")
        assert what in refusal.error
    hive.take(Decision)
    assert hive.ask("dispatch", "t1", "bob").agent_id == "bob"
    assigned = hive.last("task.assigned")
    assert (assigned.score, hive.take(Decision)) == (None, [])
    hive.submit("t2", required_capabilities=["cobol"])
    assert "busy" in hive.ask("dispatch", "t2", "bob").error
    assert "lacks cobol" in hive.ask("dispatch", "t2", "ann").error
    hive.drain("ann")
    hive.submit("t3")
    assert "drained" in hive.ask("dispatch", "t3", "ann").error


def test_dispatch_does_not_wait_for_the_time_but_for_dependencies(hive):
    hive.spawn("ann", slots=3)
    hive.submit("t1", not_before=hive.now + timedelta(hours=1))
    hive.submit("t2", depends_on=["t1"])
    assert "1 of its dependencies" in hive.ask("dispatch", "t2").error
    assert hive.ask("dispatch", "t1").status == "assigned"
    assert "is assigned" in hive.ask("dispatch", "t1").error
    assert hive.ask("dispatch", "nowhere").status == 404


def test_two_dispatches_in_one_turn_do_not_share_a_slot(hive):
    hive.submit("t1", category="plan")
    hive.submit("t2", category="plan")
    hive.spawn("ann")
    first = hive.ask("dispatch", "t1")
    second = hive.ask("dispatch", "t2")
    assert (first.status, second.status) == ("assigned", 409)


def test_dispatch_next_takes_the_first_that_somebody_could_do(hive):
    assert hive.ask("dispatch_next").status == 409
    hive.submit("first", priority=9, required_capabilities=["x"])
    hive.submit("second", priority=8)
    hive.broker.fleet.put(_agent("ann"))
    assert hive.ask("dispatch_next").task_id == "second"
    assert hive.ask("dispatch_next", "ann").status == 409


def _agent(agent_id):
    return AgentSeen(agent_id=agent_id, instance=f"{agent_id}-1")


# block ----------------------------------------------------------------------------------------------
def test_a_blocked_task_waits_until_it_is_unblocked(hive):
    hive.submit("t1")
    assert hive.ask("block", "t1", "not yet").status == "blocked"
    hive.spawn("ann")
    assert (hive.status("t1"), hive.task("t1").reason) == ("blocked", "not yet")
    assert hive.ask("unblock", "t1").status == "pending"
    assert hive.status("t1") == "assigned"
    assert (hive.ask("block", "t1").status, hive.ask("unblock", "t1").status) == (409, 409)


def test_completing_what_is_blocked_is_refused(hive):
    hive.submit("t1")
    hive.ask("block", "t1")
    before = len(hive.events)
    assert hive.ask("complete", "t1", sender="boss").status == 409
    assert len(hive.events) == before


def test_what_a_dead_dependency_blocks_cannot_be_unblocked(hive):
    hive.spawn("ann")
    hive.submit("t1")
    hive.submit("t2", depends_on=["t1"])
    hive.fail("t1", retry=False)
    assert "task t1, which ended failed: retry that one" in hive.ask("unblock", "t2").error


# update ---------------------------------------------------------------------------------------------
def test_a_task_in_line_gets_the_place_of_its_new_priority(hive):
    for task in ("t1", "t2", "t3"):
        hive.submit(task)
    assert hive.ask("update", task_id="t3", priority="high", labels={"a": "b"}, timeout_seconds=9.0).status == "pending"
    hive.ask("update", task_id="t1", priority=9)
    hive.ask("update", task_id="t1", priority=0)
    hive.spawn("ann")
    for task in ("t3", "t2", "t1"):
        hive.complete(task)
    assert [task for task, _ in hive.assigned()] == ["t3", "t2", "t1"]
    assert (hive.task("t3").timeout_s, hive.task("t3").kinship) == (9.0, ("label a=b",))


def test_an_update_that_says_nothing_or_comes_too_late_is_refused(hive):
    hive.submit("t1")
    assert hive.ask("update", task_id="t1").status == 400
    hive.cancel("t1")
    assert hive.ask("update", task_id="t1", priority=1).status == 409


# limits ---------------------------------------------------------------------------------------------
def test_a_key_limits_how_many_of_its_tasks_are_with_agents(hive):
    hive.spawn("ann", slots=10)
    for number in range(6):
        hive.submit(f"t{number}", concurrency_key="db", max_concurrent=2)
    hive.submit("other")
    assert [task for task, _ in hive.assigned()] == ["t0", "t1", "other"]
    hive.complete("t1")
    assert hive.status("t2") == "assigned"
    hive.cancel("t3")
    hive.fail("t0", retry=False)
    hive.complete("t2")
    assert [hive.status(f"t{number}") for number in (3, 4, 5)] == ["cancelled", "assigned", "assigned"]


def test_a_task_that_nobody_can_do_does_not_keep_its_key_from_others(hive):
    hive.spawn("ann", "python")
    hive.submit("t1", concurrency_key="db", required_capabilities=["python"])
    hive.submit("t2", concurrency_key="db", required_capabilities=["cobol"])
    hive.submit("t3", concurrency_key="db", required_capabilities=["python"])
    assert "key db" in hive.ask("dispatch", "t3").error
    hive.complete("t1")
    assert (hive.status("t2"), hive.status("t3")) == ("pending", "assigned")


def test_owners_of_equal_priority_take_turns(hive):
    for owner, count in (("kim", 4), ("lee", 2), ("moe", 2)):
        for number in range(count):
            hive.submit(f"{owner}{number}", owner=owner)
    hive.submit("first", owner="kim", priority=9)
    hive.spawn("ann", slots=20)
    assert [task for task, _ in hive.assigned()] == [
        *("first", "lee0", "moe0", "kim0", "lee1", "moe1", "kim1", "kim2", "kim3"),
    ]


def test_tasks_of_one_key_in_several_lines_share_its_room(hive):
    for owner in ("kim", "lea", "mia"):
        hive.submit(f"of-{owner}", owner=owner, concurrency_key="db")
    hive.spawn("ann", slots=3)
    assert len(hive.assigned()) == 1
    hive.complete(hive.assigned()[0][0])
    assert len(hive.assigned()) == 2


def test_what_waits_rises_in_priority(hive):
    hive.submit("low", priority=4)
    hive.now += timedelta(seconds=limits.PRIORITY_AGEING_S - 1)
    hive.submit("early", priority=5)
    hive.now += timedelta(seconds=2)
    hive.submit("late", priority=5)
    hive.spawn("ann", slots=3)
    assert [task for task, _ in hive.assigned()] == ["early", "low", "late"]


def test_an_owners_rate_holds_its_tasks_back_but_nobody_elses():
    hive = Driver(owner_rate=2.0)
    hive.spawn("ann", slots=20)
    for number in range(5):
        hive.submit(f"kim{number}", owner="kim")
    hive.submit("lee", owner="lee")
    assert [task for task, _ in hive.assigned()] == ["kim0", "kim1", "lee"]
    hive.wait(1.0)
    assert [task for task, _ in hive.assigned()][3:] == ["kim2", "kim3"]
    hive.wait(10.0)
    assert hive.status("kim4") == "assigned"
