"""From assignment to end: reports, the fence, retries, timeouts, dead letters."""

from datetime import timedelta

import pytest

from hivewire.commands.broker import Backoff, CompleteReport, FailReport, ProgressReport, ReportBatch, StartReport
from hivewire_broker.draft import TellCancel
from hivewire_broker.retry import backoff_s, jitter_share
from hivewire_service.core import Refusal


@pytest.fixture(autouse=True)
def ann(hive):
    hive.spawn("ann")


def test_a_task_runs_and_completes(hive):
    hive.submit("t1")
    assert hive.status("t1") == "assigned"
    assert hive.start("t1").status == "running"
    hive.progress("t1", 0.5, "half")
    assert (hive.task("t1").progress, hive.task("t1").progress_message) == (0.5, "half")
    reply = hive.complete("t1")
    assert (reply.status, reply.attempt, reply.agent_id) == ("completed", 1, "ann")
    assert hive.types("t1") == ["created", "queued", "assigned", "started", "progress", "completed"]


def test_of_reports_in_one_command_each_is_taken_or_refused_by_itself(hive):
    hive.update("ann", slots=3)
    instance = hive.instance("ann")
    hive.submit("t1")
    hive.submit("t2", max_retries=0)
    reports = ReportBatch(
        [
            StartReport("t1", 1, instance),
            ProgressReport("t1", 1, instance, 0.5, "half"),
            CompleteReport("t1", 2, instance),
            CompleteReport("t1", 1, instance),
            StartReport("unknown", 1, instance),
            FailReport("t2", 1, instance, "broken", retry=False),
        ]
    )
    for _ in range(2):  # the same reports again change nothing
        reply = hive.send("report_batch", reports, "ann", "c1")
        assert [(refused.index, refused.status) for refused in reply.refused] == [(2, 409), (4, 404)]
        assert hive.types("t1")[-3:] == ["started", "progress", "completed"]
        assert hive.status("t2") == "failed"


def test_an_attempt_may_complete_without_a_start(hive):
    hive.submit("t1")
    assert hive.complete("t1").status == "completed"


def test_progress_implies_a_start(hive):
    hive.submit("t1")
    hive.progress("t1", 0.1)
    assert hive.types("t1")[-2:] == ["started", "progress"]


@pytest.mark.parametrize("report", ["start", "progress", "complete", "fail"])
def test_repeated_reports_change_nothing(hive, report):
    hive.submit("t1", max_retries=0)
    arguments = (0.5,) if report == "progress" else ()
    getattr(hive, report)("t1", *arguments)
    before = len(hive.events)
    assert not isinstance(getattr(hive, report)("t1", *arguments), Refusal)
    assert len(hive.events) == before


@pytest.mark.parametrize(
    ("fence", "status"),
    [
        ({"agent": "bob"}, 403),
        ({"attempt": 2}, 409),
        ({"instance": "ann-0"}, 409),
    ],
)
@pytest.mark.parametrize("report", ["start", "complete", "fail"])
def test_the_fence(hive, report, fence, status):
    hive.submit("t1")
    before = len(hive.events)
    refusal = getattr(hive, report)("t1", **fence)
    assert (refusal.status, len(hive.events)) == (status, before)


def test_a_report_of_an_unknown_task(hive):
    assert hive.complete("nowhere").status == 404


def test_a_stale_attempt_is_refused_and_the_last_one_counts(hive):
    hive.submit("t1", backoff=Backoff(base_s=0.0))
    hive.fail("t1")
    assert hive.task("t1").attempts[-1].number == 2
    assert hive.complete("t1", attempt=1).status == 409
    assert hive.fail("t1", attempt=1).attempt == 2  # a repeat of what was reported of it
    assert hive.complete("t1").status == "completed"
    assert hive.fail("t1").status == 409


def test_failures_are_retried_with_growing_pauses_until_the_budget_is_spent(hive):
    hive.submit("t1", max_retries=2, backoff=Backoff(base_s=10, factor=3, jitter=0))
    for pause_s in (10, 30):
        hive.fail("t1", "no luck")
        retry = hive.last("task.retry")
        assert (retry.retry_at - hive.now, retry.error) == (timedelta(seconds=pause_s), "no luck")
        hive.wait(pause_s - 0.001)
        assert hive.status("t1") == "pending"
        hive.wait(0.001)
        assert hive.status("t1") == "assigned"
    assert hive.fail("t1", "no luck").status == "dead_lettered"
    dead = hive.last("task.dead_lettered")
    assert (dead.attempt, dead.ended, dead.error) == (3, "failed", "no luck")
    assert hive.task("t1").error == "no luck"


def test_a_permanent_failure_is_not_retried(hive):
    hive.submit("t1")
    assert hive.fail("t1", "never", retry=False).status == "failed"
    assert hive.types("t1")[-1] == "failed"


def test_backoff_is_bounded_and_jitter_only_shortens_it():
    backoff = Backoff(base_s=1, factor=2, max_s=60, jitter=0.5)
    assert [backoff_s(backoff, n, 0.0) for n in (1, 2, 3, 7, 100)] == [1, 2, 4, 60, 60]
    assert backoff_s(backoff, 3, 0.5) == 3.0
    shares = [jitter_share(f"task-{n}", 1) for n in range(1000)]
    assert 0.45 < sum(shares) / 1000 < 0.55
    assert shares[0] == jitter_share("task-0", 1) != jitter_share("task-0", 2)


def test_an_attempt_that_is_not_started_in_time_is_given_out_again(hive):
    hive.submit("t1", start_timeout_seconds=60, backoff=Backoff(base_s=0.0))
    hive.wait(59.9)
    assert hive.task("t1").attempt.status == "assigned"
    hive.wait(0.1)
    assert hive.types("t1")[-3:] == ["timeout", "retry", "assigned"]
    assert hive.last("task.timeout").kind == "start"
    assert (hive.task("t1").retries_used, hive.task("t1").attempts[0].status) == (1, "timed_out")
    (told,) = hive.take(TellCancel)
    assert (told.agent_id, told.attempt, told.instance) == ("ann", 1, "ann-1")
    assert hive.complete("t1", attempt=1).status == 409


def test_an_attempt_that_runs_too_long_is_a_dead_letter_in_the_end(hive):
    hive.submit("t1", timeout_seconds=10, max_retries=0)
    hive.wait(30)
    hive.start("t1")
    hive.wait(9.9)
    assert hive.status("t1") == "running"
    hive.wait(0.1)
    assert hive.types("t1")[-2:] == ["timeout", "dead_lettered"]
    assert hive.last("task.timeout").kind == "run"


def test_silence_extends_the_time_of_open_attempts(hive):
    hive.submit("t1", start_timeout_seconds=60)
    hive.wait(30)
    hive.broker.extend(100.0, hive.now)
    hive.wait(129)
    assert hive.status("t1") == "assigned"
    hive.wait(1)
    assert hive.types("t1")[-2:] == ["timeout", "retry"]


@pytest.mark.parametrize("state", ["waiting", "blocked", "assigned", "running"])
def test_a_deadline_ends_a_task_wherever_it_is(hive, state):
    hive.submit("first")
    hive.cancel("first")
    needs = {"waiting": {"required_capabilities": ["x"]}, "blocked": {"depends_on": ["first"]}}.get(state, {})
    hive.submit("t1", deadline=hive.now + timedelta(seconds=5), **needs)
    if state == "running":
        hive.start("t1")
    hive.wait(4.9)
    assert hive.status("t1") == {"waiting": "pending"}.get(state, state)
    hive.wait(0.1)
    assert hive.status("t1") == "dead_lettered"
    assert hive.task("t1").reason == "its deadline passed"


def test_a_task_whose_deadline_passed_unnoticed_is_not_given_out(hive):
    hive.submit("t1")
    hive.submit("t2", deadline=hive.now + timedelta(seconds=5))
    hive.jump(6)
    hive.complete("t1")
    assert hive.status("t2") == "dead_lettered"
    assert "assigned" not in hive.types("t2")


def test_a_task_is_not_given_out_before_its_time(hive):
    hive.submit("t1", not_before=hive.now + timedelta(seconds=10))
    hive.wait(9.9)
    assert hive.status("t1") == "pending"
    hive.wait(0.1)
    assert hive.status("t1") == "assigned"


def test_what_is_dispatched_by_name_only_is_never_given_out(hive):
    hive.submit("t1", type="checkpoint:human-verify")
    hive.submit("t2", category="plan")
    hive.wait(1000)
    assert (hive.status("t1"), hive.status("t2")) == ("pending", "pending")
