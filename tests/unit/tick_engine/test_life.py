import pytest

from hivewire.simulation import SimulationBrief
from hivewire_service.core import Refusal
from hivewire_tick_engine.states import TRANSITIONS, IllegalTransition, following

from .conftest import told


def test_a_life_from_creation_to_its_budget(driver, types):
    assert types(driver.create("a b", "a>b", tick_budget=2)) == ["simulation.created", "simulation.configured"]
    assert driver.outcome.status == "configured"
    assert types(driver.send("start")) == ["simulation.started"]
    assert types(driver.send("pause")) == ["simulation.paused"]
    assert driver.send("tick").error == "the simulation is paused: start it first"
    assert types(driver.send("start")) == ["simulation.started"]
    assert types(driver.tick(5)) == ["tick.advanced", "tick.advanced", "simulation.completed"]
    assert driver.outcome == SimulationBrief(
        "s", "completed", 2, state_hash=driver.simulation.state_hash, ticks=2, events=3
    )
    assert driver.send("tick").status == 409
    assert driver.send("start").status == 409


def test_the_same_simulation_again_is_the_same(driver):
    driver.create("a b")
    assert driver.create("a b") == []
    assert driver.create("a c").status == 409


def test_configuration_is_locked_once_it_started(driver, types):
    driver.create("a b")
    assert types(driver.send("configure", agents=[{"id": "x"}])) == ["simulation.configured"]
    driver.send("start")
    for _ in range(2):
        assert "locked" in driver.send("configure", agents=[{"id": "y"}]).error
        driver.send("pause")


def test_messages_under_an_old_configuration_are_gone(driver, types):
    driver.create("a b")
    driver.send("message", to="a", content="x")
    assert types(driver.send("configure", agents=[{"id": "x"}])) == ["simulation.reset", "simulation.configured"]
    assert len(driver.simulation.waiting) == 0


def test_a_reset_keeps_the_workflow_or_not(driver, types):
    driver.run("a b", messages=[{"to": "a", "content": 1}])
    driver.tick(3)
    assert types(driver.send("reset")) == ["simulation.reset", "simulation.configured", "message.sent"]
    assert (driver.simulation.status, driver.simulation.tick, driver.simulation.run) == ("configured", 0, 2)
    assert types(driver.send("reset", keep_workflow=False)) == ["simulation.reset"]
    assert driver.simulation.status == "created"
    assert driver.send("start").error == "the simulation is created: configure it first"


def test_a_tick_names_the_tick_that_it_expects(driver):
    driver.run("a")
    driver.send("tick", expected_tick=0)
    refusal = driver.send("tick", expected_tick=0)
    assert (refusal.status, refusal.detail) == (409, {"tick": 1})
    assert driver.simulation.tick == 1


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"agents": "a b", "edges": "a>ghost"}, "ends at 'ghost', which is no node"),
        ({"agents": "a user"}, "agent id 'user' is reserved"),
        ({"agents": "a a"}, "node 'a' is there twice"),
        ({"agents": "a", "messages": [{"to": "ghost", "content": 1}]}, "names 'ghost', which is no agent"),
        ({"agents": "a", "dispatch_timeout_s": 1, "dispatch_timeout_ticks": 1}, "exclude one another"),
        ({"agents": [{"id": "a", "behaviour": {"kind": "callable", "name": "evil"}}]}, "did not register"),
        (
            {"agents": [{"id": "a", "behaviour": {"kind": "delegation", "targets": ["ghost"]}}]},
            "'ghost', which is no agent",
        ),
        ({"agents": "", "edges": "a>b"}, "needs agents"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(driver, config, reason):
    refusal = driver.create(config.pop("agents"), config.pop("edges", ""), **config)
    assert isinstance(refusal, Refusal)
    assert reason in refusal.error
    assert driver.core.simulations == {}


def test_without_agents_it_waits_to_be_configured(driver, types):
    assert types(driver.create("")) == ["simulation.created"]
    assert driver.send("start").error == "the simulation is created: configure it first"
    assert driver.send("message", to="a", content=1).status == 409


def test_an_unknown_simulation_is_404(driver):
    assert driver.send("tick").status == 404


def test_auto_mode_ticks_by_itself(driver, types):
    driver.run("a", mode="auto", delay_s=10, tick_budget=3)
    assert driver.core.next_due() == driver.now.replace(second=10)
    assert driver.after(9) == []
    assert types(driver.after(1)) == ["tick.advanced"]
    driver.send("pause")
    assert driver.core.next_due() is None
    driver.send("start")
    assert types(driver.after(10)) == ["tick.advanced"]
    assert types(driver.after(10)) == ["tick.advanced", "simulation.completed"]
    assert driver.core.next_due() is None


def test_auto_mode_without_a_delay_runs_in_bounded_commits(driver):
    driver.run("a", mode="auto", delay_s=0, tick_budget=5_000)
    ticks = []
    while (due := driver.core.next_due()) is not None:
        assert due <= driver.now
        ticks.append(len(driver.after(0)))
    assert driver.simulation.status == "completed"
    assert max(ticks) <= 2_001


def test_a_command_does_not_hold_up_the_others_for_long(driver, monkeypatch):
    monkeypatch.setattr("hivewire_tick_engine.core.EVENTS_PER_COMMAND", 10)
    driver.run("a")
    driver.tick(1_000)
    assert (driver.outcome.ticks, driver.simulation.tick) == (10, 10)
    monkeypatch.setattr("hivewire_tick_engine.core.BYTES_PER_COMMIT", 1_000)
    driver.tick(1_000)
    assert driver.outcome.ticks < 10


def test_every_event_of_the_table_leads_somewhere_and_no_other():
    events = {event for row in TRANSITIONS.values() for event in row}
    for status, row in TRANSITIONS.items():
        for event in events:
            if event in row:
                assert following(status, event) == row[event]
            else:
                with pytest.raises(IllegalTransition):
                    following(status, event)


def test_a_reply_says_what_became_of_a_message(driver):
    driver.run("a b c", "a>b")
    driver.send("message", from_="a", to="c", content=1)
    [sent] = driver.outcome.sent
    assert (sent.message_id, sent.target, sent.allowed) == ("m1", "c", False)
    assert told(driver.history)[-1] == "blocked_by_graph a>c"
