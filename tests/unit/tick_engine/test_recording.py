import msgspec
import pytest

from hivewire.events.simulation import TickAdvanced
from hivewire_tick_engine.recording import Replay, compare

from .conftest import Driver, told

REMOTE = [{"id": "a"}, {"id": "r", "agent_type": "remote"}]


def replayed(record):
    replay = Replay()
    for event in record:
        replay.add(event)
    replay.end()
    return replay


@pytest.fixture
def recorded(driver) -> Driver:
    """A run with everything in it that comes from outside."""
    agents = [
        {"id": "o", "role": "orchestrator", "behaviour": {"kind": "delegation"}},
        *REMOTE,
        {"id": "s", "behaviour": {"kind": "scripted", "replies": [{"reply": "again", "failure_rate": 0.3}]}},
    ]
    driver.run(agents, "o=a o=r a=s s=s", messages_per_tick=3, dispatch_timeout_s=10, seed=5)
    driver.send("message", to="o", content="first")
    driver.send("message", from_="s", to="s", content="x")
    driver.tick(3)
    driver.send("respond", dispatch_id="d1", content={"found": 1})
    driver.tick(2)
    driver.send("message", to="o", content="second")
    driver.tick(3)
    driver.send("pause")
    driver.after(11)
    driver.send("start")
    driver.tick(4)
    return driver


def test_a_recorded_run_follows_from_what_came_from_outside(recorded):
    replay = replayed(recorded.history)
    assert replay.difference is None
    assert (replay.ticks, replay.events) == (12, len(recorded.history))


def test_a_later_run_is_replayed_on_its_own(recorded):
    recorded.send("reset")
    recorded.send("start")
    recorded.send("message", to="o", content="third")
    recorded.tick(3)
    record = recorded.record("s", 99)
    assert record[0].type == "simulation.reset"
    assert replayed(record).difference is None


def test_every_change_of_the_record_is_found_in_its_tick(recorded):
    for place, event in enumerate(recorded.history[:-1]):  # without the last tick, which is empty, it is only shorter
        if event.type not in {"message.sent", "message.delivered", "tick.advanced"} or event.tick == 0:
            continue
        without = recorded.history[:place] + recorded.history[place + 1 :]
        difference = replayed(without).difference
        # A message that was handed in is an input: leaving it out is seen when it would have been delivered.
        assert difference is not None
        assert event.tick <= difference.tick <= event.tick + 3


def test_two_runs_are_the_same_byte_for_byte(recorded, driver):
    assert compare(recorded.history, driver.history) == (12, compare(driver.history, recorded.history)[1], None)


def test_another_simulation_of_the_same_configuration_gives_the_same_events():
    drivers = [Driver(), Driver()]
    for driver, name in zip(drivers, ("s", "another"), strict=True):
        driver.send(
            "create", name, agents=[{"id": "a"}, {"id": "b"}], messages=[{"from": "a", "to": "b", "content": 1}]
        )
        driver.send("start", name)
        driver.send("tick", name, count=4)
    one, other = (driver.history for driver in drivers)
    assert compare(one, other)[2] is None
    assert one[-1].state_hash == other[-1].state_hash


def test_a_fork_without_an_edit_is_the_same_run(recorded):
    assert not isinstance(recorded.send("fork", fork_id="f", at=5), tuple)
    fork, source = recorded.core.simulations["f"], recorded.record("s", 5)
    assert (fork.status, fork.tick, fork.forked_from, fork.forked_at) == ("paused", 5, "s", 5)
    assert compare(source, recorded.record("f", 99))[2] is None
    assert replayed(recorded.record("f", 99)).difference is None


def test_a_fork_goes_on_from_there(recorded):
    recorded.send("fork", fork_id="f", at=7)
    recorded.send("start", "f")
    recorded.tick(1, "f")
    assert compare(recorded.record("s", 8), recorded.record("f", 8))[2] is None


def test_a_fork_with_another_reply_differs_from_its_tick_on(driver):
    driver.run(REMOTE, "a=r", messages_per_tick="all")
    driver.send("message", from_="a", to="r", content="?")
    driver.tick(2)
    driver.send("respond", dispatch_id="d1", content="yes")
    driver.tick(2)
    driver.send("fork", fork_id="f", at=2, edit={"reply": {"dispatch_id": "d1", "content": "no"}})
    driver.send("start", "f")
    assert told(driver.tick(2, "f"))[0] == "responded r"
    difference = compare(driver.record("s", 9), driver.record("f", 9))[2]
    assert difference.tick == 2
    assert msgspec.json.decode(difference.other.data)["content"] == "no"
    assert replayed(driver.record("f", 9)).difference is None


def test_a_fork_with_other_edges(driver):
    driver.run("a b", "a>b")
    driver.tick(2)
    edges = {"add_edges": [{"from": "b", "to": "a"}], "remove_edges": [{"from": "a", "to": "b"}]}
    driver.send("fork", fork_id="f", at=1, edit=edges)
    assert told(driver.send("message", "f", from_="a", to="b", content=1)) == ["blocked_by_graph a>b"]
    assert told(driver.send("message", "f", from_="b", to="a", content=1)) == ["sent b>a"]
    assert told(driver.send("message", from_="a", to="b", content=1)) == ["sent a>b"]


@pytest.mark.parametrize(
    ("at", "edit", "reason"),
    [
        (9, {}, "has no tick 9"),
        (2, {"reply": {"dispatch_id": "d7"}}, "was not sent yet"),
        (3, {"reply": {"dispatch_id": "d1"}}, "ended in tick 3: fork at an earlier one"),
        (2, {"add_edges": [{"from": "a", "to": "ghost"}]}, "'ghost', which is no agent"),
        (2, {"remove_edges": [{"from": "r", "to": "r"}]}, "there is no edge from 'r' to 'r'"),
    ],
)
def test_a_fork_that_cannot_be_is_refused(driver, at, edit, reason):
    driver.run(REMOTE, "a=r", messages_per_tick="all")
    driver.send("message", from_="a", to="r", content="?")
    driver.tick(2)
    driver.send("respond", dispatch_id="d1", content="yes")
    driver.tick()
    assert reason in driver.send("fork", fork_id="f", at=at, edit=edit).error
    assert driver.send("fork", fork_id="s", at=1).status == 409


def test_every_tick_has_a_hash_of_all_before_it(recorded):
    hashes = [event.state_hash for event in recorded.history if isinstance(event, TickAdvanced)]
    assert len(set(hashes)) == len(hashes) == 12
