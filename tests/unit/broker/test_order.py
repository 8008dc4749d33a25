"""Order of dispatch, against an oracle that looks at everything every time."""

import random
from datetime import timedelta
from math import floor, inf

import pytest

from unit.broker.driver import START

EPOCH_S = START.timestamp()
"""Levels of priority are counted from 1970, as the ranks of tasks are."""


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


def test_owners_take_turns_in_the_oracles_order(hive):
    """A thousand tasks of several owners, with one slot: the highest priority, then whose turn is the longest ago, then
    the owner's own order. Waiting raises a priority by one in ten minutes."""
    choice = random.Random(1)
    owners = ["ann", "ben", "cem", "dot"]
    tasks: dict[str, dict] = {}
    for number in range(1000):
        task = {"priority": choice.randrange(11), "owner": choice.choice(owners), "created": hive.now}
        needs = choice.sample(sorted(tasks), min(len(tasks), choice.choice([0, 0, 0, 1])))
        tasks[f"t{number}"] = task | {"depends_on": needs}
        wanted = [choice.choice(["python", "docs"])]
        hive.submit(
            f"t{number}",
            priority=task["priority"],
            owner=task["owner"],
            depends_on=needs,
            required_capabilities=wanted,
        )
        hive.jump(choice.choice([0.0, 0.1, 7.0]))
    last_turn = dict.fromkeys(owners, 0)
    completed: set[str] = set()
    hive.spawn("one", "python", "docs")
    while len(completed) < len(tasks):
        expected = oracle_of_turns(tasks, completed, last_turn)
        assert hive.assigned()[-1][0] == expected
        completed.add(expected)
        last_turn[tasks[expected]["owner"]] = len(completed)
        hive.jump(0.5)
        hive.complete(expected)


def oracle_of_turns(tasks: dict[str, dict], completed: set[str], last_turn: dict[str, int]) -> str:
    """What comes next, over all tasks."""
    first: dict[str, tuple[float, int, str]] = {}
    for number, (task_id, task) in enumerate(tasks.items()):
        if task_id not in completed and completed.issuperset(task["depends_on"]):
            place = (task["created"] - START).total_seconds() - 600.0 * task["priority"]
            first[task["owner"]] = min(first.get(task["owner"], (inf, 0, "")), (place, number, task_id))
    order = {
        owner: (floor((place + EPOCH_S) / 600.0), last_turn[owner], place, number)
        for owner, (place, number, _) in first.items()
    }
    return first[min(order, key=order.__getitem__)][2]


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
