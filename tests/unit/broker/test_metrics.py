"""What the broker counts of what it decided."""

import pytest
from prometheus_client import REGISTRY

from hivewire.commands.broker import Approve, Backoff
from hivewire_broker.metrics import BrokerMeter


class Counted:
    """By how much metrics grew since the test began."""

    def __init__(self) -> None:
        self._before = self._values()

    def __call__(self, name: str, **labels: str) -> float:
        key = name, frozenset(labels.items())
        return self._values().get(key, 0.0) - self._before.get(key, 0.0)

    def _values(self) -> dict[tuple, float]:
        samples = (sample for family in REGISTRY.collect() for sample in family.samples)
        return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


@pytest.fixture
def counted():
    return Counted()


def count(hive) -> None:
    BrokerMeter(hive.broker).count(hive.events)


def test_a_completed_task_is_timed_from_its_submission_and_from_its_start(hive, counted):
    hive.submit("t1")
    hive.wait(2)
    hive.spawn("ann")
    hive.start("t1")
    hive.wait(3)
    hive.complete("t1")
    count(hive)
    assert counted("hivewire_task_assign_seconds_sum") == 2
    assert counted("hivewire_attempt_seconds_sum", outcome="completed") == pytest.approx(3)
    assert counted("hivewire_task_ends_total", status="completed") == 1


def test_an_attempt_that_times_out_and_is_retried_is_counted_once(hive, counted):
    hive.spawn("ann")
    hive.submit("t1", timeout_seconds=10, max_retries=1, backoff=Backoff(base_s=1, max_s=1))
    hive.start("t1")
    hive.wait(11)
    count(hive)
    assert counted("hivewire_attempt_seconds_count", outcome="timed_out") == 1
    assert counted("hivewire_task_retries_total", ended="timed_out") == 1


def test_a_dead_letter_is_counted(hive, counted):
    hive.spawn("ann")
    hive.submit("t1", max_retries=0)
    hive.fail("t1")
    count(hive)
    assert counted("hivewire_attempt_seconds_count", outcome="failed") == 1
    assert counted("hivewire_task_ends_total", status="dead_lettered") == 1


def test_approved_work_is_timed_to_its_end_and_not_to_its_approval(hive, counted):
    hive.spawn("ann")
    hive.submit("t1", requires_approval=True)
    hive.start("t1")
    hive.wait(3)
    hive.complete("t1")
    hive.wait(100)
    hive.send("approve", Approve(task_id="t1"))
    count(hive)
    assert counted("hivewire_attempt_seconds_count", outcome="completed") == 1
    assert counted("hivewire_attempt_seconds_sum", outcome="completed") == pytest.approx(3)
    assert counted("hivewire_task_assign_seconds_count") == 1


def test_tasks_with_dependencies_say_nothing_of_the_time_to_assign(hive, counted):
    hive.spawn("ann")
    hive.submit("t1")
    hive.submit("t2", depends_on=["t1"])
    hive.complete("t1")
    count(hive)
    assert counted("hivewire_task_assign_seconds_count") == 1
