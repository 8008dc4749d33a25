from datetime import timedelta

import pytest

from hivewire.inbox import Replaced, Sync
from hivewire_agent_gateway.beats import TOLD_MAX, Tell
from hivewire_agent_gateway.sessions.sessions import Sessions
from hivewire_agent_gateway.states import Presence
from hivewire_agent_gateway.watch import ALLOWANCE_S, LOST_PER_STEP_MAX


def test_an_agent_is_lost_after_three_missed_beats(driver, types):
    driver.register("bob")
    driver.after(5)
    assert driver.beat("bob") == []
    assert driver.after(ALLOWANCE_S - 0.001) == []
    [crashed] = driver.after(0.001)
    assert (crashed.type, crashed.instance) == ("agent.crashed", "a")
    assert driver.after(60) == []
    assert driver.core.next_due() is None


def test_next_due_is_never_later_than_a_deadline(driver):
    driver.register("bob")
    assert driver.core.next_due() == driver.now + timedelta(seconds=ALLOWANCE_S)
    driver.after(10)
    driver.beat("bob")
    assert driver.core.next_due() == driver.now + timedelta(seconds=ALLOWANCE_S - 10)
    driver.after(5)
    assert driver.core.next_due() == driver.now + timedelta(seconds=ALLOWANCE_S - 5)


def test_a_decided_loss_is_decided_again_until_it_happened(driver):
    driver.register("bob")
    late = driver.now + timedelta(seconds=ALLOWANCE_S)
    assert len(driver.core.advance(late).events) == len(driver.core.advance(late).events) == 1
    assert driver.core.next_due() <= late


def test_silence_moves_every_deadline(driver):
    driver.register("bob")
    driver.core.extend(100.0, driver.now)
    assert driver.after(ALLOWANCE_S + 99) == []
    assert len(driver.after(1)) == 1


def test_after_a_start_everybody_present_has_the_full_allowance(driver, types):
    driver.register("bob")
    driver.register("eve")
    driver.send("eve", "leave", instance="a")
    driver.now += timedelta(hours=1)
    driver.core.restore(dict(driver.core.registry.agents), Sessions(), driver.now)
    assert driver.after(ALLOWANCE_S - 1) == []
    assert [event.agent_id for event in driver.after(1)] == ["bob"]


def test_a_lost_agent_is_asked_to_register_and_is_back(driver, types):
    driver.register("bob")
    driver.after(ALLOWANCE_S)
    assert driver.beat("bob") == [Tell("bob", Sync("a"))]
    assert types(driver.register("bob")) == ["agent.resumed"]
    assert driver.core.registry.agents["bob"].presence is Presence.PRESENT
    assert driver.beat("bob") == []


def test_strangers_are_asked_to_register(driver):
    assert driver.beat("nobody", "x") == [Tell("nobody", Sync("x"))]
    driver.register("bob", "a")
    assert driver.beat("bob", "x") == [Tell("bob", Sync("x"))]


def test_a_replaced_instance_is_told_so_and_its_beats_count_for_nothing(driver):
    driver.register("bob", "a")
    driver.register("bob", "b")
    driver.after(10)
    assert driver.beat("bob", "a") == [Tell("bob", Replaced("b"))]
    assert [event.instance for event in driver.after(ALLOWANCE_S - 10)] == ["b"]


def test_an_instance_is_told_once_a_beat_interval(driver):
    assert len(driver.beat("bob")) == 1
    driver.after(4.9)
    assert driver.beat("bob") == []
    assert len(driver.beat("bob", "b")) == 1
    driver.after(0.1)
    assert len(driver.beat("bob")) == 1


def test_invented_instances_cost_no_memory(driver):
    told = sum(len(driver.beat("bob", str(number))) for number in range(TOLD_MAX + 100))
    assert told == TOLD_MAX
    driver.after(5)
    assert len(driver.beat("eve")) == 1


def test_a_clock_that_was_set_back_silences_nobody(driver):
    driver.beat("bob")
    driver.now -= timedelta(hours=1)
    assert len(driver.beat("bob")) == 1


def test_a_fleet_that_is_lost_at_once_is_written_in_steps(driver):
    for number in range(LOST_PER_STEP_MAX + 1):
        driver.register(f"agent{number}")
    assert len(driver.after(ALLOWANCE_S)) == LOST_PER_STEP_MAX
    assert driver.core.next_due() <= driver.now
    assert len(driver.after(0)) == 1


@pytest.mark.parametrize("how", ["leave", "remove"])
def test_who_went_on_purpose_is_not_lost(driver, how):
    driver.register("bob")
    if how == "leave":
        driver.send("bob", "leave", instance="a")
    else:
        driver.send("operator", "remove", agent_id="bob")
    assert driver.core.next_due() is None
    assert driver.after(60) == []
