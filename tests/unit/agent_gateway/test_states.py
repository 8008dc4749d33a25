import pytest

from hivewire.events.agent import EVENTS, AgentCrashed
from hivewire_agent_gateway.registry import Registry
from hivewire_agent_gateway.states import TRANSITIONS, IllegalTransition, Presence, allows, following


def test_every_state_and_every_event_has_its_place():
    assert set(TRANSITIONS) == set(Presence)
    assert {event_type for events in TRANSITIONS.values() for event_type in events} == {event.type for event in EVENTS}


def test_every_state_can_be_reached_and_left():
    reached = {state for events in TRANSITIONS.values() for state in events.values()}
    assert reached == set(Presence)
    assert all(set(events.values()) - {state} for state, events in TRANSITIONS.items())


def test_a_missing_entry_refuses_and_changes_nothing(driver):
    registry = Registry()
    crashed = AgentCrashed(agent_id="bob", instance="a", reason="", crashed_at=driver.now)
    with pytest.raises(IllegalTransition, match=r"agent\.crashed cannot happen to an agent that is removed"):
        registry.evolve(crashed)
    assert registry.agents == {}
    assert not allows(Presence.AWAY, AgentCrashed.type)
    assert following(Presence.PRESENT, AgentCrashed.type) is Presence.LOST
