"""Agents that are away are told to start."""

from hivewire.commands.agent_gateway import Wake
from hivewire_agent_gateway.control import NotWoken, WakeUp
from hivewire_service.core import Command, Refusal, Step


def wake(driver, agent_id: str) -> Step | Refusal:
    return driver.core.decide(Command("c", "wake", "boss", Wake(agent_id, "work waits")), driver.now)


def test_an_agent_that_left_is_woken_in_the_way_that_its_card_says(driver):
    driver.register("bob", policy="on-demand", wake="https://example.org/start")
    driver.send("bob", "leave", instance="a")
    step = wake(driver, "bob")
    [waking] = step.events
    assert (waking.type, waking.by, waking.reason) == ("agent.waking", "boss", "work waits")
    assert step.records == [WakeUp("bob")]
    driver.core.evolve(waking)
    assert driver.core.registry.get("bob").card.wake == "https://example.org/start"


def test_one_that_is_there_is_awake(driver):
    driver.register("bob", wake="start-bob")
    step = wake(driver, "bob")
    assert (list(step.events), step.records) == ([], [])


def test_without_a_way_to_wake_it_the_wake_is_refused(driver):
    driver.register("bob")
    driver.send("bob", "leave", instance="a")
    refusal = wake(driver, "bob")
    assert isinstance(refusal, Refusal)
    assert refusal.status == 409
    assert wake(driver, "eve").status == 404


def test_a_failed_wake_is_told_unless_the_agent_came_meanwhile(driver, types):
    driver.register("bob", wake="start-bob")
    driver.send("bob", "leave", instance="a")
    failed = NotWoken("bob", "no such command")
    assert types(driver.core.observe(failed, driver.now).events) == ["agent.wake_failed"]
    driver.register("bob", instance="b", wake="start-bob")
    assert types(driver.core.observe(failed, driver.now).events) == []
