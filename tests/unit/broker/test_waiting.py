"""An attempt whose agent waits for answers: its run timeout is paused, for a bounded time."""

from datetime import timedelta

import pytest

from hivewire.events.agent import AgentWaiting, Question
from hivewire_broker.presence import WaitsSeen

ASKED = [Question("c1", "bob")]


@pytest.fixture(autouse=True)
def running(hive):
    hive.spawn("ann")
    hive.submit("t1", timeout_seconds=100.0, max_retries=0)
    hive.start("t1")


def waiting(hive, until_s: float | None, paused_s: float = 0.0, attempt: int = 1) -> AgentWaiting:
    return AgentWaiting(
        agent_id="ann",
        task_id="t1",
        attempt=attempt,
        questions=ASKED if until_s else [],
        paused_s=paused_s,
        waiting_since=hive.now if until_s else None,
        pause_until=hive.now + timedelta(seconds=until_s) if until_s else None,
    )


def test_the_run_timeout_is_paused_until_the_answer(hive):
    hive.see(waiting(hive, 600))
    hive.wait(500)
    assert hive.status("t1") == "running"
    hive.see(waiting(hive, None, paused_s=500))
    hive.wait(99)
    assert hive.status("t1") == "running"
    hive.wait(2)
    assert hive.types("t1")[-2:] == ["timeout", "dead_lettered"]


def test_after_pause_until_the_broker_goes_on_by_itself(hive):
    hive.see(waiting(hive, 50))
    hive.wait(149)
    assert hive.status("t1") == "running"
    hive.wait(2)
    assert hive.status("t1") == "dead_lettered"


def test_a_snapshot_makes_good_for_a_lost_event(hive):
    hive.see(WaitsSeen([waiting(hive, 600, paused_s=10)]))
    hive.wait(700)
    assert hive.status("t1") == "running"
    hive.wait(11)
    assert hive.status("t1") == "dead_lettered"


def test_the_wait_of_another_attempt_says_nothing(hive):
    hive.see(waiting(hive, 600, attempt=2))
    hive.wait(101)
    assert hive.status("t1") == "dead_lettered"


def test_a_deadline_is_not_paused(hive):
    hive.submit("t2", deadline=hive.now + timedelta(seconds=60))
    hive.complete("t1")
    hive.start("t2")
    hive.see(AgentWaiting(agent_id="ann", task_id="t2", attempt=1, questions=ASKED))
    hive.wait(61)
    assert hive.status("t2") == "dead_lettered"
