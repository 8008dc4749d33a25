import msgspec
import pytest

from hivewire.commands.agent_gateway import METADATA_BYTES_MAX, VERBS, AgentBrief
from hivewire_agent_gateway.states import Presence
from hivewire_service.core import Command, Refusal


def test_a_new_agent_is_spawned_with_its_card_and_the_defaults(driver):
    [spawned] = driver.register("bob", capabilities=[" Python", "python", "REVIEW ", " "], slots=3)
    assert spawned.type == "agent.spawned"
    assert (spawned.card.name, spawned.card.capabilities, spawned.card.slots) == ("bob", ["python", "review"], 3)
    assert spawned.replaces is None
    assert spawned.spawned_at == driver.now


def test_the_same_instance_again_is_only_resumed(driver, types):
    driver.register("bob")
    assert types(driver.register("bob")) == ["agent.resumed"]


def test_another_card_is_an_update(driver, types):
    driver.register("bob")
    assert types(driver.register("bob", slots=2)) == ["agent.updated", "agent.resumed"]
    assert driver.core.registry.agents["bob"].card.slots == 2


def test_a_newer_instance_replaces_the_present_one(driver):
    driver.register("bob", "a")
    [spawned] = driver.register("bob", "b")
    assert (spawned.instance, spawned.replaces) == ("b", "a")


@pytest.mark.parametrize("gone", ["left", "lost"])
def test_an_instance_that_is_not_present_is_not_pushed_out(driver, gone):
    driver.register("bob", "a")
    if gone == "left":
        driver.send("bob", "leave", instance="a")
    else:
        driver.after(60)
    [spawned] = driver.register("bob", "b")
    assert spawned.replaces is None


@pytest.mark.parametrize("newer", ["present", "away"])
def test_a_replaced_instance_may_not_return(driver, newer):
    driver.register("bob", "a")
    driver.register("bob", "b")
    if newer == "away":
        driver.send("bob", "leave", instance="b")
    refusal = driver.register("bob", "a")
    assert isinstance(refusal, Refusal)
    assert refusal.status == 409
    assert refusal.detail == {"instance": "b"}


def test_only_the_last_replaced_instances_are_remembered(driver, types):
    for number in range(18):
        driver.register("bob", f"i{number}")
    assert isinstance(driver.register("bob", "i1"), Refusal)
    assert types(driver.register("bob", "i0")) == ["agent.spawned"]


def test_an_agent_keeps_its_drain_and_its_first_registration_over_instances(driver):
    driver.register("bob", "a")
    first = driver.now
    driver.send("operator", "drain", agent_id="bob")
    driver.after(1)
    driver.register("bob", "b")
    agent = driver.core.registry.agents["bob"]
    assert agent.drained
    assert (agent.registered_at, agent.changed_at) == (first, driver.now)


@pytest.mark.parametrize(
    ("sender", "card", "status"),
    [
        ("bob", {"endpoint_url": "http://example.org"}, 422),
        ("bob", {"agent_type": "remote", "endpoint_url": "ftp://example.org"}, 422),
        ("bob", {"metadata": msgspec.Raw(b'"' + b"x" * METADATA_BYTES_MAX + b'"')}, 413),
        ("operator", {}, 403),
        ("service", {}, 403),
    ],
)
def test_what_is_refused_changes_nothing(driver, sender, card, status):
    refusal = driver.register(sender, **card)
    assert isinstance(refusal, Refusal)
    assert refusal.status == status
    assert driver.core.registry.agents == {}


def test_leaving_is_repeatable(driver, types):
    driver.register("bob")
    assert types(driver.send("bob", "leave", instance="a", reason="done")) == ["agent.stopped"]
    assert driver.send("bob", "leave", instance="a") == []
    assert driver.core.registry.agents["bob"].presence is Presence.AWAY


def test_only_the_instance_itself_can_leave(driver):
    assert driver.send("bob", "leave", instance="a").status == 404
    driver.register("bob", "a")
    driver.register("bob", "b")
    assert driver.send("bob", "leave", instance="a").status == 409


def test_an_agent_that_left_returns_with_the_same_instance(driver, types):
    driver.register("bob")
    driver.send("bob", "leave", instance="a")
    assert types(driver.register("bob")) == ["agent.resumed"]
    assert driver.core.registry.agents["bob"].presence is Presence.PRESENT


def test_drain_and_undrain(driver, types):
    driver.register("bob")
    assert types(driver.send("operator", "drain", agent_id="bob")) == ["agent.drained"]
    assert driver.send("operator", "drain", agent_id="bob") == []
    assert types(driver.send("operator", "undrain", agent_id="bob")) == ["agent.undrained"]
    assert driver.send("operator", "undrain", agent_id="bob") == []


def test_a_removed_agent_is_forgotten(driver):
    driver.register("bob")
    [deleted] = driver.send("operator", "remove", agent_id="bob")
    assert (deleted.by, deleted.instance) == ("operator", "a")
    assert driver.core.registry.agents == {}
    assert driver.core.next_due() is None


def test_removing_an_absent_agent_names_no_instance(driver):
    driver.register("bob")
    driver.send("bob", "leave", instance="a")
    [deleted] = driver.send("operator", "remove", agent_id="bob")
    assert deleted.instance is None


@pytest.mark.parametrize("verb", ["drain", "undrain", "remove"])
def test_an_unknown_agent_is_404(driver, verb):
    assert driver.send("operator", verb, agent_id="nobody").status == 404


def test_replies_say_how_the_agent_stands(driver):
    driver.register("bob")
    driver.send("operator", "drain", agent_id="bob")
    drain = Command("1", "drain", "operator", VERBS["drain"](agent_id="bob"))
    leave = Command("2", "leave", "bob", VERBS["leave"](instance="a"))
    assert driver.core.reply(drain) == driver.core.reply(leave) == AgentBrief("bob", "present", "a", drained=True)
    driver.send("operator", "remove", agent_id="bob")
    assert driver.core.reply(drain) == AgentBrief("bob", "removed")
