"""A task may have any number of dependents: what becomes of them follows in bounded steps."""

import pytest

from hivewire_broker import dependents, state
from hivewire_broker.core import AT_ONCE
from unit.broker.driver import Driver

DEPENDENTS = 2_500


@pytest.fixture
def wide(hive) -> Driver:
    hive.submit("root", required_capabilities=["root"], max_retries=0)
    for first in range(0, DEPENDENTS, 1_000):
        numbers = range(first, min(first + 1_000, DEPENDENTS))
        hive.submit_batch(*({"id": f"t{number}", "depends_on": ["root"]} for number in numbers))
    hive.spawn("ann", "root")
    hive.start("root")
    hive.now += hive.now.resolution
    return hive


def steps(hive: Driver) -> list[int]:
    """How many events each step has, until nothing is left to do."""
    sizes = []
    while hive.broker.next_due() == AT_ONCE:
        step = hive.broker.advance(hive.now)
        hive.follow(step)
        sizes.append(len(step.events))
    return sizes


def end_root(hive: Driver, verb: str) -> None:
    """Without the steps that follow."""
    settle, hive.settle = hive.settle, lambda: None
    (hive.complete if verb == "complete" else hive.fail)("root")
    hive.settle = settle


def statuses(hive: Driver) -> set[str]:
    return {hive.status(f"t{number}") for number in range(DEPENDENTS)}


def test_dependents_of_a_completed_task_are_released_step_by_step(wide):
    end_root(wide, "complete")
    waiting = sum(wide.task(f"t{number}").unmet for number in range(DEPENDENTS))
    assert waiting == DEPENDENTS
    wide.follow(wide.broker.advance(wide.now))
    assert sum(wide.task(f"t{number}").unmet for number in range(DEPENDENTS)) == waiting - state.RELEASED_MAX
    steps(wide)
    assert not any(wide.task(f"t{number}").unmet for number in range(DEPENDENTS))
    assert wide.assigned()[-1][0] in {f"t{number}" for number in range(DEPENDENTS)}


def test_dependents_of_a_failed_task_are_blocked_step_by_step_and_given_back_so(wide):
    end_root(wide, "fail")
    assert max(steps(wide)) <= dependents.REVIEWED_MAX
    assert statuses(wide) == {"blocked"}
    wide.drain("ann")
    wide.settle = lambda: None
    wide.retry("root")
    assert max(steps(wide)) <= dependents.REVIEWED_MAX
    assert statuses(wide) == {"pending"}


def test_one_that_is_opened_again_amid_the_steps_leaves_nobody_blocked(wide):
    end_root(wide, "fail")
    wide.follow(wide.broker.advance(wide.now))
    assert statuses(wide) == {"blocked", "pending"}
    wide.settle = lambda: None
    wide.retry("root")
    wide.follow(wide.broker.advance(wide.now))
    wide.complete("root")
    steps(wide)
    assert "blocked" not in statuses(wide)
    assert not any(wide.task(f"t{number}").unmet for number in range(DEPENDENTS))


def test_what_was_changed_meanwhile_is_not_told_twice(wide):
    end_root(wide, "complete")
    wide.settle = lambda: None
    wide.ask("update", task_id="t0", depends_on=[])
    wide.cancel("t1")
    wide.retry("t1")
    steps(wide)
    assert {wide.task(f"t{number}").unmet for number in range(DEPENDENTS)} == {0}
