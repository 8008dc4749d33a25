"""What is kept in memory stays bounded."""

from datetime import timedelta

import msgspec
import pytest

from hivewire.events.task import TaskCreated
from hivewire_broker import state as state_module
from hivewire_broker import timers as timers_module
from hivewire_broker.dispatches import Contents
from hivewire_broker.state import State


def created(hive, task_id: str, size: int = 0) -> TaskCreated:
    return TaskCreated(
        task_id=task_id,
        title="t",
        sender="boss",
        owner="boss",
        content_hash="",
        created_at=hive.now,
        payload=msgspec.Raw(b'"' + b"x" * size + b'"'),
    )


def test_contents_are_dropped_oldest_first_beyond_their_bytes(hive):
    contents = Contents(bytes_max=10_000)
    for number in range(5):
        contents.put(created(hive, f"t{number}", 2_000))
    assert [contents.get(f"t{number}") is not None for number in range(5)] == [False, False, False, True, True]
    contents.drop("t3")
    contents.drop("t3")
    contents.put(created(hive, "t5", 4_000))
    assert contents.get("t4") is not None


def test_contents_that_are_too_large_are_not_kept(hive):
    contents = Contents(bytes_max=1_000)
    contents.put(created(hive, "t1", 5_000))
    assert contents.get("t1") is None


def test_pointless_timers_are_dropped(hive, monkeypatch):
    monkeypatch.setattr(timers_module, "_STALE_ENTRIES_MIN", 10)
    hive.broker.state._ended_max = 0
    hive.spawn("ann")
    for number in range(200):
        hive.submit(f"t{number}")
        hive.complete(f"t{number}")
        hive.broker.state.forget_old()
        hive.now += timedelta(seconds=0.01)
    assert len(hive.broker.state.timers._heap) < 20


def test_requirements_are_shared_and_their_number_is_bounded(monkeypatch):
    monkeypatch.setattr(state_module, "INTERNED_MAX", 5)
    state = State()
    assert state.requirements("boss", ["a", "b"]) is state.requirements("boss", ["b", "a"])
    for number in range(50):
        state.requirements("boss", [str(number)])
    assert len(state._interned) <= 5


def test_kin_are_forgotten_oldest_first(hive, monkeypatch):
    monkeypatch.setattr(state_module, "KIN_REMEMBERED_MAX", 3)
    hive.spawn("ann")
    for number in range(6):
        hive.submit(f"t{number}", labels={"n": str(number)})
        hive.complete(f"t{number}")
    assert list(hive.broker.state.kin) == ["label n=3", "label n=4", "label n=5"]


def test_a_step_reports_a_bounded_number_of_unmatched_tasks(hive, monkeypatch):
    monkeypatch.setattr("hivewire_broker.assign.REPORTED_MAX", 2)
    hive.submit_batch(*({"id": f"t{number}", "required_capabilities": ["x"]} for number in range(5)))
    assert [event.entity_id for event in hive.events if event.type == "task.unmatched"] == [f"t{n}" for n in range(5)]


@pytest.mark.parametrize("count", [1, 700])
def test_growing_arrays_keep_what_is_known(hive, count):
    for number in range(count):
        hive.spawn(f"agent-{number:03}", "python")
    hive.submit("t1", required_capabilities=["python"])
    assert hive.assigned() == [("t1", "agent-000")]
