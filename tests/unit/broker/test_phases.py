"""Phases and initiatives: approval, order, what their tasks make of them."""

import pytest

from hivewire_broker.evolve import evolve
from hivewire_broker.fold import compare
from hivewire_broker.state import State
from hivewire_service.core import Refusal


def status(hive, phase_id):
    return hive.broker.state.phases[phase_id].status


def refused(reply, status, what):
    assert isinstance(reply, Refusal)
    assert reply.status == status
    assert what in reply.error


def test_a_phase_is_approved_then_queued_then_starts_its_tasks(hive):
    hive.spawn("ann", slots=5)
    assert hive.phase("p", up_to="create").created
    hive.submit("work", phase_id="p")
    hive.submit("planning", phase_id="p", category="plan")
    hive.submit("check", phase_id="p", type="checkpoint:human")
    refused(hive.ask("queue_phase", "p"), 409, "not approved")
    assert hive.ask("approve_phase", "p").approved
    assert (status(hive, "p"), hive.status("work")) == ("pending", "pending")
    hive.ask("queue_phase", "p")
    assert (status(hive, "p"), hive.status("work")) == ("running", "assigned")
    assert (hive.task("planning").queued, hive.task("check").queued) == (False, True)
    assert hive.types("p") == ["created", "approved", "queued", "started"]
    for task in ("planning", "check"):
        hive.ask("dispatch", task)
    for task in ("work", "planning"):
        hive.complete(task)
    assert status(hive, "p") == "running"
    hive.complete("check")
    assert hive.types("p")[-1] == "completed"


def test_a_task_that_comes_later_is_queued_at_once(hive):
    hive.spawn("ann")
    hive.phase("p")
    assert status(hive, "p") == "running"
    hive.submit("t1", phase_id="p")
    assert hive.complete("t1").status == "completed"
    assert status(hive, "p") == "completed"
    refused(hive.submit("t2", phase_id="p"), 409, "phase p is completed")


def test_a_task_can_be_queued_before_its_phase(hive):
    hive.spawn("ann")
    hive.phase("p", up_to="create")
    hive.submit("t1", phase_id="p")
    assert hive.ask("queue", "t1").status == "pending"
    assert hive.status("t1") == "assigned"
    assert hive.ask("queue", "t1").status == "assigned"


def test_a_queued_phase_starts_when_those_it_depends_on_are_completed(hive):
    hive.spawn("ann", slots=5)
    hive.phase("a", up_to="approve")
    hive.phase("b", depends_on=["a"])
    hive.submit("ta", phase_id="a")
    hive.submit("tb", phase_id="b")
    refused(hive.ask("dispatch_phase", "b"), 409, "waits for phase a")
    assert hive.ask("dispatch_next_phase").phase_id == "a"
    refused(hive.ask("dispatch_next_phase"), 409, "no phase can start")
    assert (hive.status("ta"), status(hive, "b")) == ("assigned", "pending")
    hive.complete("ta")
    assert (status(hive, "a"), status(hive, "b"), hive.status("tb")) == ("completed", "running", "assigned")


def test_a_task_that_ends_badly_blocks_its_phase_until_it_is_open_again(hive):
    hive.spawn("ann", slots=5)
    hive.phase("p")
    hive.phase("next", depends_on=["p"])
    for task in ("t1", "t2", "t3"):
        hive.submit(task, phase_id="p")
    hive.fail("t1", retry=False)
    hive.cancel("t2")
    phase = hive.broker.state.phases["p"]
    assert (phase.status, phase.blocked_by) == ("blocked", "t1")
    refused(hive.ask("unblock_phase", "p"), 409, "retry that one")
    refused(hive.ask("complete_phase", "p"), 409, "1 of its tasks")
    hive.retry("t1")
    assert (phase.status, phase.blocked_by) == ("blocked", "t2")
    hive.retry("t2")
    assert (phase.status, hive.types("p")[-1]) == ("running", "resumed")
    for task in ("t1", "t2", "t3"):
        hive.complete(task)
    assert (status(hive, "p"), status(hive, "next")) == ("completed", "running")


def test_a_blocked_phase_can_be_completed_as_it_is(hive):
    hive.spawn("ann")
    hive.phase("p")
    hive.submit("t1", phase_id="p")
    hive.fail("t1", retry=False)
    assert hive.ask("complete_phase", "p").status == "completed"
    assert hive.last("phase.completed").by == "boss"


def test_block_and_unblock_before_the_start(hive):
    hive.phase("a", up_to="approve")
    assert hive.ask("block_phase", "a", "budget").status == "blocked"
    refused(hive.ask("queue_phase", "a"), 409, "is blocked")
    refused(hive.ask("dispatch_phase", "a"), 409, "is blocked")
    assert hive.ask("unblock_phase", "a").status == "pending"
    hive.ask("dispatch_phase", "a")
    assert hive.types("a")[-2:] == ["queued", "started"]
    hive.ask("block_phase", "a")
    assert hive.ask("unblock_phase", "a").status == "running"


def test_what_cannot_be_is_refused_and_changes_nothing(hive):
    hive.phase("a", up_to="create")
    hive.phase("b", up_to="create", depends_on=["a"])
    hive.phase("c", up_to="create", depends_on=["b"])
    before = len(hive.events)
    refused(hive.ask("update_phase", "a", ["c"]), 422, "dependency cycle: a -> c -> b -> a")
    refused(hive.ask("update_phase", "a", ["a"]), 422, "a -> a")
    refused(hive.ask("update_phase", "a", ["x"]), 422, "unknown phase 'x'")
    refused(hive.ask("create_phase", title="x", id="x", depends_on=["x"]), 422, "itself")
    refused(hive.ask("create_phase", title="x", id="x", depends_on=["y"]), 422, "unknown phase 'y'")
    refused(hive.ask("create_phase", title="x", id="x", initiative_id="y"), 422, "no initiative 'y'")
    refused(hive.ask("create_phase", title="other", id="a"), 409, "other content")
    refused(hive.ask("approve_phase", "x"), 404, "no phase 'x'")
    refused(hive.ask("complete_phase", "a"), 409, "has not started")
    refused(hive.submit("t", phase_id="x"), 422, "no phase 'x'")
    assert hive.ask("create_phase", title="a phase", id="a").created is False
    assert len(hive.events) == before
    assert hive.ask("update_phase", "c", ["a"]).phase_id == "c"
    assert hive.broker.state.phases["c"].depends_on == ("a",)
    assert set(hive.broker.state.phase_dependents["a"]) == {"b", "c"}


def test_an_initiative_steers_all_of_its_phases(hive):
    assert hive.ask("create_initiative", title="launch", id="i").created
    hive.phase("a", up_to="create", initiative_id="i")
    hive.phase("b", up_to="create", initiative_id="i", depends_on=["a"])
    assert [phase.approved for phase in hive.ask("approve_initiative", "i").phases] == [True, True]
    hive.ask("block_initiative", "i")
    assert [phase.status for phase in hive.ask("unblock_initiative", "i").phases] == ["pending", "pending"]
    hive.ask("queue_initiative", "i")
    refused(hive.ask("complete_initiative", "i"), 409, "2 of its phases are not, such as a")
    hive.ask("complete_phase", "a")
    hive.ask("complete_phase", "b")
    assert hive.ask("complete_initiative", "i").status == "completed"
    refused(hive.ask("create_phase", title="late", id="c", initiative_id="i"), 409, "takes no more")
    refused(hive.ask("approve_initiative", "x"), 404, "no initiative 'x'")
    assert hive.ask("create_initiative", title="launch", id="i").created is False
    refused(hive.ask("create_initiative", title="other", id="i"), 409, "other content")


@pytest.mark.parametrize("bound", [None, 7])
def test_fifty_phases_of_a_hundred_tasks_run_through(hive, monkeypatch, bound):
    if bound:
        monkeypatch.setattr("hivewire_broker.phases.QUEUED_MAX", bound)
    phases, size = (50, 100) if bound is None else (5, 20)
    hive.ask("create_initiative", title="all of it", id="i")
    for number in range(phases):
        needs = [f"p{needed}" for needed in {number // 2, number - 1} if needed < number and needed >= 0]
        hive.phase(f"p{number}", up_to="create", initiative_id="i", depends_on=needs)
        hive.submit_batch(*({"id": f"p{number}-{task}", "phase_id": f"p{number}"} for task in range(size)))
    hive.ask("approve_initiative", "i")
    hive.ask("queue_initiative", "i")
    hive.spawn("ann", slots=200)
    done = 0
    while held := tuple(hive.broker.state.held.get("ann", ())):
        for task_id in held:
            hive.complete(task_id)
            done += 1
    assert done == phases * size
    assert all(phase.status == "completed" for phase in hive.broker.state.phases.values())
    started = [event.phase_id for event in hive.events if event.type == "phase.started"]
    assert started == [f"p{number}" for number in range(phases)]
    folded = State()
    for event in hive.events:
        evolve(folded, event)
    assert compare(folded, hive.broker.state) == []
