"""Order of dispatch, against an oracle that looks at everything every time."""

import random
from datetime import timedelta

import pytest


def oracle(tasks: dict[str, dict], completed: set[str], now) -> str | None:
    """The task that has to come next: highest priority, then first created, of those that are ready."""
    ready = [
        (-task["priority"], number, task_id)
        for number, (task_id, task) in enumerate(tasks.items())
        if task_id not in completed
        and completed.issuperset(task["depends_on"])
        and (task["not_before"] is None or task["not_before"] <= now)
    ]
    return min(ready)[2] if ready else None


@pytest.mark.parametrize("seed", range(3))
def test_one_slot_gets_tasks_in_the_oracles_order(hive, seed):
    choice = random.Random(seed)
    capabilities = ["python", "review", "docs"]
    tasks = {}
    for number in range(1000):
        needs = choice.sample(sorted(tasks), min(len(tasks), choice.choice([0, 0, 0, 1, 2])))
        moment = hive.now + timedelta(seconds=choice.randrange(2000)) if choice.random() < 0.2 else None
        tasks[f"t{number}"] = {"priority": choice.randrange(11), "depends_on": needs, "not_before": moment}
        hive.submit(f"t{number}", required_capabilities=choice.sample(capabilities, 1), **tasks[f"t{number}"])
    hive.spawn("ann", *capabilities)
    completed: set[str] = set()
    while len(completed) < len(tasks):
        expected = oracle(tasks, completed, hive.now)
        if expected is None:
            hive.wait(1)
            continue
        assert hive.assigned()[-1][0] == expected
        completed.add(expected)
        hive.now += timedelta(seconds=1)
        hive.complete(expected)


def test_a_line_without_free_agents_does_not_hold_up_another(hive):
    hive.spawn("ann", "python")
    hive.submit("first", required_capabilities=["python"], priority=10)
    hive.submit("second", required_capabilities=["python"], priority=10)
    hive.submit("other", required_capabilities=["docs"], priority=0)
    hive.spawn("bob", "docs")
    assert (hive.status("second"), hive.status("other")) == ("pending", "assigned")


def test_no_more_than_a_bound_is_assigned_in_one_step(hive, monkeypatch):
    monkeypatch.setattr("hivewire_broker.assign.ASSIGNED_MAX", 3)
    for number in range(8):
        hive.submit(f"t{number}")
    hive.spawn("ann", slots=10)
    assert [task for task, _ in hive.assigned()] == [f"t{number}" for number in range(8)]
