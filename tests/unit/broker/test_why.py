"""Why a task is where it is."""

from datetime import UTC, datetime, timedelta

import pytest

from hivewire_broker.fleet import AgentSeen
from hivewire_broker.why import UnmetDependency, Waiting, Worker, why

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def waiting(**changes) -> Waiting:
    fields = {"task_id": "t", "status": "pending", "owner": "boss", "by_name_only": False, "attempt": 0}
    return Waiting(**fields | {"required_capabilities": frozenset({"a", "b"})} | changes)


def worker(name: str, *skills: str, busy: int = 0, **changes) -> Worker:
    return Worker(AgentSeen(agent_id=name, instance="i", capabilities=frozenset(skills), **changes), busy)


@pytest.mark.parametrize(
    ("workers", "sentence", "nearest"),
    [
        ([], "no agent is registered", None),
        (
            [worker("ann", "a"), worker("bob")],
            "no known agent can do it (needs a, b, owner boss); the nearest is ann: lacks b",
            "ann: lacks b",
        ),
        (
            [worker("ann", "a", "b", owner="kim")],
            "no known agent can do it (needs a, b, owner boss); the nearest is ann: works only for owner kim",
            "ann: works only for owner kim",
        ),
        (
            [
                worker("ann", "a", "b", presence="lost"),
                worker("bob", "a", "b", drained=True),
                worker("cid", "a", "b", busy=1),
                worker("dan", "a", "b", busy=1),
            ],
            "of the agents that can do it none is free: 2 busy, 1 drained, 1 lost",
            "cid: busy",
        ),
        ([worker("ann", "a", "b")], "it is ready, and agent ann is free: it is given out at any moment", None),
    ],
)
def test_what_a_ready_task_waits_for(workers, sentence, nearest):
    found = why(waiting(), None, workers, NOW)
    assert (found.sentence, found.nearest_miss) == (sentence, nearest)


def test_dependencies_come_first():
    found = why(waiting(), UnmetDependency("x", "running", 3), [], NOW)
    assert (found.sentence, found.waits_for) == ("it waits for task x, which is running, and for 2 more", "task x")


def test_time():
    later = NOW + timedelta(seconds=5)
    assert why(waiting(wakes_at=later), None, [], NOW).sentence == "it is not due before 2026-01-01T00:00:05+00:00"
    retry = waiting(wakes_at=later, retries=True, attempt=2, error="a\nb")
    assert why(retry, None, [], NOW).sentence.endswith("00:00:05+00:00 after attempt 2 failed: a b")


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("assigned", "attempt 2 was given to agent ann, which has not reported its start yet"),
        ("running", "agent ann works on attempt 2"),
        ("blocked", "it is blocked: some reason"),
        ("completed", "it is completed: agent ann did it in attempt 2"),
        ("failed", "it failed for good: " + "e" * 197 + "..."),
        ("dead_lettered", "it is a dead letter, some reason: " + "e" * 197 + "..."),
        ("cancelled", "it was cancelled: some reason"),
    ],
)
def test_other_statuses(status, sentence):
    task = waiting(status=status, attempt=2, agent_id="ann", reason="some reason", error="e" * 1000)
    assert why(task, None, [], NOW).sentence == sentence


def test_what_is_dispatched_by_name():
    assert "only by name" in why(waiting(by_name_only=True), None, [], NOW).sentence


def test_a_phase_that_has_not_started_and_a_full_key_are_told():
    in_phase = why(waiting(phase="p", phase_stands="not approved"), None, [], NOW)
    assert (in_phase.sentence, in_phase.waits_for) == (
        "it waits for phase p to start, which is not approved",
        "phase p",
    )
    assert why(waiting(key_full="db"), None, [worker("ann", "a", "b")], NOW).waits_for == "concurrency key db"
