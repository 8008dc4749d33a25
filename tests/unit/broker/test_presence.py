"""Agents that come, go, beat, and are replaced."""

import pytest

from hivewire.inbox import Beat, Held
from hivewire_broker.draft import Resend, TellCancel
from hivewire_broker.fleet import AgentSeen
from hivewire_broker.presence import FleetSeen


def test_a_lost_agents_task_returns_at_once_and_spends_no_retry(hive):
    hive.spawn("ann")
    hive.submit("t1", max_retries=0)
    hive.spawn("bob")
    hive.crash("ann")
    assert hive.types("t1")[-3:] == ["reassigned", "retry", "assigned"]
    task = hive.task("t1")
    assert (task.attempt.agent_id, task.retries_used, task.lost_count) == ("bob", 0, 1)
    assert hive.complete("t1", attempt=1, agent="ann", instance="ann-1").status == 409


@pytest.mark.parametrize("leaving", ["stop", "delete", "crash"])
def test_whoever_leaves_gives_its_tasks_back(hive, leaving):
    hive.spawn("ann")
    hive.submit("t1")
    getattr(hive, leaving)("ann")
    assert (hive.status("t1"), hive.task("t1").attempts[0].status) == ("pending", "lost")


def test_a_task_that_is_lost_three_times_is_a_dead_letter(hive):
    hive.submit("t1")
    for _ in range(3):
        hive.spawn("ann", instance=f"ann-{hive.now.timestamp()}")
        hive.crash("ann")
        hive.wait(1)
    assert hive.status("t1") == "dead_lettered"
    assert hive.types("t1")[-2:] == ["reassigned", "dead_lettered"]
    assert (hive.task("t1").lost_count, hive.last("task.dead_lettered").ended) == (3, "lost")


def test_a_new_instance_takes_nothing_over(hive):
    hive.spawn("ann")
    hive.submit("t1")
    hive.spawn("ann", instance="ann-2")
    assert [attempt.instance for attempt in hive.task("t1").attempts] == ["ann-1", "ann-2"]


def test_a_late_word_of_an_older_instance_changes_nothing(hive):
    hive.spawn("ann", instance="ann-2")
    hive.submit("t1")
    from hivewire.events.agent import AgentCrashed

    hive.see(AgentCrashed(agent_id="ann", instance="ann-1", reason="silent", crashed_at=hive.now))
    assert hive.status("t1") == "assigned"


def test_a_resumed_agent_is_sent_all_that_is_open_for_it(hive):
    hive.spawn("ann", slots=3)
    hive.submit("t1")
    hive.submit("t2")
    hive.start("t1")
    hive.take(Resend)
    hive.resume("ann")
    assert {(r.task_id, r.attempt, r.instance) for r in hive.take(Resend)} == {("t1", 1, "ann-1"), ("t2", 1, "ann-1")}


def test_an_agent_that_was_connected_again_is_sent_what_it_does_not_hold(hive):
    hive.spawn("ann", slots=2)
    hive.submit("t1")
    hive.submit("t2")
    hive.take(Resend)
    hive.see(Beat("ann", "ann-1", [Held("t1", 1)], returned=True))
    assert [r.task_id for r in hive.take(Resend)] == ["t2"]


def test_a_dispatch_that_no_beat_lists_is_sent_again_once_in_a_while(hive):
    hive.spawn("ann")
    hive.submit("t1")
    hive.wait(9.9)
    hive.beat("ann")
    assert hive.take(Resend) == []
    hive.wait(0.1)
    hive.beat("ann")
    hive.beat("ann")
    assert [r.task_id for r in hive.take(Resend)] == ["t1"]
    hive.wait(10)
    hive.beat("ann", ("t1", 1))
    assert hive.take(Resend) == []


def test_what_an_agent_holds_and_should_not_is_cancelled(hive):
    hive.spawn("ann")
    hive.submit("t1")
    hive.complete("t1")
    hive.beat("ann", ("t1", 1), ("unknown", 3))
    assert {(told.task_id, told.attempt) for told in hive.take(TellCancel)} == {("t1", 1), ("unknown", 3)}


def test_the_beat_of_a_replaced_instance_is_told_to_stop_and_nothing_is_sent_to_it(hive):
    hive.spawn("ann")
    hive.submit("t1")
    hive.spawn("ann", instance="ann-2")
    hive.take(Resend)
    hive.wait(60 - 1)
    hive.beat("ann", ("t1", 1), instance="ann-1")
    assert [(told.attempt, told.instance) for told in hive.take(TellCancel)] == [(1, "ann-1")]
    assert hive.take(Resend) == []


def test_a_drained_agent_finishes_what_it_has_and_gets_nothing_new(hive):
    hive.spawn("ann", slots=2)
    hive.submit("t1")
    hive.drain("ann")
    hive.submit("t2")
    assert hive.complete("t1").status == "completed"
    assert hive.status("t2") == "pending"
    hive.undrain("ann")
    assert hive.status("t2") == "assigned"


def test_a_snapshot_makes_good_for_events_that_did_not_arrive(hive):
    hive.spawn("ann")
    hive.spawn("bob")
    hive.submit("t1")
    hive.submit("t2")
    hive.see(
        FleetSeen([AgentSeen(agent_id="ann", instance="ann-1"), AgentSeen(agent_id="cid", instance="cid-1", slots=5)])
    )
    assert hive.broker.fleet.get("bob") is None
    owners = {task.attempts[-1].agent_id for task in (hive.task("t1"), hive.task("t2"))}
    assert owners == {"ann", "cid"}


def test_an_unmatched_task_is_reported_once_and_found_when_an_agent_appears(hive):
    hive.spawn("ann", "python")
    hive.submit("t1", required_capabilities=["cooking"])
    hive.submit("t2")
    hive.wait(100)
    assert hive.types("t1") == ["created", "queued", "unmatched"]
    assert "cooking" in hive.task("t1").reason
    hive.spawn("bob", "cooking")
    assert (hive.status("t1"), hive.task("t1").reason) == ("assigned", None)


def test_a_task_is_reported_unmatched_when_the_only_fitting_agent_is_removed(hive):
    hive.spawn("ann", "cooking")
    hive.drain("ann")
    hive.submit("t1", required_capabilities=["cooking"])
    assert "unmatched" not in hive.types("t1")
    hive.delete("ann")
    assert hive.types("t1")[-1] == "unmatched"


def test_an_agent_that_is_away_still_counts_as_one_that_could(hive):
    hive.spawn("ann", "cooking")
    hive.stop("ann")
    hive.submit("t1", required_capabilities=["cooking"])
    assert "unmatched" not in hive.types("t1")


def test_an_agent_that_beats_while_its_work_loop_stands_still_is_the_last_choice(hive):
    hive.spawn("ann")
    hive.spawn("bob", policy="on-demand")
    chosen = []
    for loop_count in (7, 7, 7, 7, 8):
        hive.beat("ann", loop_count=loop_count)
        hive.beat("bob")
        hive.submit(f"t{len(chosen)}", category="plan")
        chosen.append(hive.ask("dispatch", f"t{len(chosen)}").agent_id)
        hive.cancel(f"t{len(chosen) - 1}")
    assert chosen == ["ann", "ann", "ann", "bob", "ann"]


def test_only_a_beat_of_the_present_instance_tells_of_its_work_loop(hive):
    hive.spawn("ann")
    for _ in range(9):
        hive.beat("ann", instance="other", loop_count=7)
    hive.beat("nobody", loop_count=7)
    assert not hive.broker.fleet.get("ann").degraded
