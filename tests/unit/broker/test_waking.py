"""Agents that are away are woken for tasks that they fit best."""

import pytest

from hivewire.events.agent import AgentWakeFailed
from hivewire.events.kept import TaskSnapshot
from hivewire_broker.as_of import Past
from hivewire_broker.decision import Decision
from hivewire_broker.fleet import AgentSeen
from hivewire_broker.presence import FleetSeen
from hivewire_broker.snapshots import kept_task
from hivewire_broker.waking import WakeAgent
from hivewire_broker.why import Waiting, Worker, why


@pytest.fixture(autouse=True)
def bob(hive):
    hive.spawn("bob", "python", policy="on-demand", wake="start-bob", slots=2)
    hive.stop("bob")


def test_a_task_waits_for_the_agent_that_is_woken_for_it(hive):
    hive.submit("t1")
    assert hive.take(WakeAgent) == [WakeAgent("bob", "for task t1")]
    assert (hive.status("t1"), hive.task("t1").waits_for) == ("pending", "bob")
    waking = hive.last("task.waking")
    assert waking.score == pytest.approx(0.3 * 0.8 + 0.05 * 0.5 + 0.2 * 0.75 + 0.15 * 0.5 + 0.05 * 0.5 + 0.1)
    hive.wait(30)
    assert hive.assigned() == []
    hive.spawn("bob", "python", instance="bob-2", policy="on-demand", wake="start-bob")
    assert hive.assigned() == [("t1", "bob")]
    assert hive.take(Decision)[-1].woken
    assert "woken for it" in hive.last("task.assigned").reason
    assert hive.types("t1") == ["created", "queued", "waking", "wake_ended", "assigned"]
    assert hive.task("t1").waits_for is None


def test_an_idle_agent_goes_before_one_that_is_asleep_and_that_before_a_busy_one(hive):
    hive.spawn("ann", slots=3)
    hive.submit("t1")
    assert hive.assigned() == [("t1", "ann")]
    hive.submit("t2")
    assert hive.take(WakeAgent) == [WakeAgent("bob", "for task t2")]


def test_it_is_told_once_for_all_tasks_and_no_more_wait_than_it_has_slots(hive):
    for number in range(3):
        hive.submit(f"t{number}")
    assert hive.take(WakeAgent) == [WakeAgent("bob", "for task t0")]
    assert set(hive.broker.state.awaited["bob"]) == {"t0", "t1"}
    hive.spawn("bob", instance="bob-2", slots=3)
    assert len(hive.assigned()) == 3


def test_when_it_does_not_come_in_time_another_is_sought(hive):
    hive.spawn("ann", slots=2)
    hive.submit("t0")
    hive.submit("t1")
    assert hive.assigned() == [("t0", "ann")]
    hive.wait(59)
    assert hive.assigned() == [("t0", "ann")]
    hive.wait(1)
    assert hive.assigned() == [("t0", "ann"), ("t1", "ann")]
    assert "did not register in time" in hive.last("task.wake_ended").reason


def test_when_it_cannot_be_woken_another_is_sought_at_once_and_it_is_tried_again_later(hive):
    hive.submit("t1")
    hive.see(AgentWakeFailed(agent_id="bob", reason="no such host"))
    assert hive.types("t1") == ["created", "queued", "waking", "wake_ended"]
    hive.wait(59)
    assert len(hive.take(WakeAgent)) == 1
    hive.wait(2)
    assert len(hive.take(WakeAgent)) == 1
    hive.spawn("ann")
    hive.delete("bob")
    assert hive.assigned() == [("t1", "ann")]


@pytest.mark.parametrize("verb", ["block", "cancel"])
def test_a_task_that_is_taken_back_waits_for_nobody(hive, verb):
    hive.submit("t1")
    hive.ask(verb, "t1")
    assert hive.broker.state.awaited == {}
    assert (hive.task("t1").waits_for, hive.task("t1").waits_until) == (None, None)
    hive.spawn("bob", instance="bob-2")
    assert hive.assigned() == []


def test_after_a_restart_it_is_told_again_or_found_present(hive):
    hive.submit("t1")
    hive.take(WakeAgent)
    asleep = AgentSeen(agent_id="bob", instance="bob-1", presence="away", policy="on-demand", wakeable=True)
    hive.broker.restore(hive.broker.state, [asleep])
    hive.settle()
    assert hive.take(WakeAgent) == [WakeAgent("bob", "for task t1")]
    hive.see(FleetSeen([AgentSeen(agent_id="bob", instance="bob-2", policy="on-demand", wakeable=True)]))
    assert hive.assigned() == [("t1", "bob")]


@pytest.mark.parametrize("card", [{"policy": "always-on", "wake": "x"}, {"policy": "on-demand"}])
def test_only_on_demand_agents_with_a_way_to_wake_them_are_asleep(hive, card):
    hive.delete("bob")
    hive.spawn("cid", **card)
    hive.stop("cid")
    hive.submit("t1")
    assert hive.take(WakeAgent) == []


def test_a_drained_one_is_left_asleep(hive):
    hive.drain("bob")
    hive.submit("t1")
    assert hive.take(WakeAgent) == []
    hive.undrain("bob")
    assert len(hive.take(WakeAgent)) == 1


def test_who_names_it_is_told_to_wake_it_first(hive):
    hive.submit("t1", category="plan")
    refusal = hive.ask("dispatch", "t1", "bob")
    assert "hivewire agent wake bob" in refusal.error
    assert "no agent that can do it is free" in hive.ask("dispatch", "t1").error


def test_why_tells_who_is_woken_and_who_is_asleep(hive):
    hive.submit("t1")
    task = hive.task("t1")
    facts = {"task_id": "t1", "status": "pending", "owner": "boss", "required_capabilities": frozenset()}
    waiting = Waiting(**facts, by_name_only=False, attempt=0, waits_for=task.waits_for, waits_until=task.waits_until)
    told = why(waiting, None, [], hive.now)
    assert told.waits_for == "agent bob"
    assert told.sentence.startswith("it waits for agent bob, which was away and is woken for it, until 2026")
    asleep = Worker(hive.broker.fleet.get("bob"), 0)
    other = why(Waiting(**facts, by_name_only=False, attempt=0), None, [asleep], hive.now)
    assert other.sentence == "of the agents that can do it none is free: 1 asleep"


def test_a_snapshot_holds_whom_a_task_waits_for(hive):
    hive.submit("t1")
    of_task = [event for event in hive.events if event.entity_id == "t1"]
    past = Past()
    for event in of_task:
        past.add(event, hive.now)
    snapshot = TaskSnapshot(task_id="t1", as_of=hive.now, through=0, state=past.state(ordinal=1))
    restored = Past()
    restored.restore(kept_task(snapshot))
    waiting = hive.task("t1")
    assert (restored.task.waits_for, restored.task.waits_until) == (waiting.waits_for, waiting.waits_until)
    assert waiting.waits_for == "bob"
    hive.spawn("bob", "python", instance="bob-2", policy="on-demand", wake="start-bob")
    for event in [event for event in hive.events if event.entity_id == "t1"][len(of_task) :]:
        restored.add(event, hive.now)
    assert restored.task.status == hive.status("t1") == "assigned"
    assert restored.task.waits_for is None
