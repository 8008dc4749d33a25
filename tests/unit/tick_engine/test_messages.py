import pytest

from hivewire_service.core import Refusal
from hivewire_tick_engine import state

from .conftest import told


def test_messages_move_along_edges_and_nowhere_else(driver):
    driver.run("o! a b", "a>b")
    assert told(driver.send("message", from_="a", to="b", content="x")) == ["sent a>b"]
    assert told(driver.send("message", from_="b", to="a", content="x")) == ["blocked_by_graph b>a"]
    assert told(driver.send("message", from_="o", to="*", content="x")) == ["sent o>a", "sent o>b"]
    assert told(driver.send("message", from_="a", to="a", content="x")) == ["sent a>a"]
    assert told(driver.send("message", to="b", content="x")) == ["sent user>b"]


def test_a_blocked_message_says_from_whom_to_whom_why_and_when(driver):
    driver.run("a b", "a>b")
    driver.tick(2)
    [blocked] = driver.send("message", from_="b", to="a", content="x")
    assert (blocked.sender, blocked.target, blocked.tick) == ("b", "a", 2)
    assert blocked.reason == "the graph has no edge from b to a"


@pytest.mark.parametrize(("sender", "target"), [("ghost", "a"), ("a", "ghost"), ("*", "a"), ("system", "a")])
def test_nobody_can_be_invented(driver, sender, target):
    driver.run("a b")
    if sender == "*":
        with pytest.raises(Exception, match="regex"):
            driver.send("message", from_=sender, to=target, content="x")
        return
    assert driver.send("message", from_=sender, to=target, content="x").status == 422


def test_first_in_first_out_one_of_each_sender_and_not_more_than_allowed(driver):
    driver.run("a b c d", "a>d b>d c>d", messages_per_tick=2)
    for sender in "aabc":
        driver.send("message", from_=sender, to="d", content="x")
    assert told(driver.tick())[:3:2] == ["delivered a>d", "delivered b>d"]
    assert told(driver.tick())[:3:2] == ["delivered a>d", "delivered c>d"]


def test_one_message_a_tick_is_the_default(driver):
    driver.run("a b c", "a>c b>c")
    for sender in "ab":
        driver.send("message", from_=sender, to="c", content="x")
    assert [event.delivered for event in driver.tick(3) if event.type == "tick.advanced"] == [1, 1, 0]


def test_all_that_is_due_is_delivered(driver):
    driver.run("a b", "a>b", messages_per_tick="all")
    for _ in range(5):
        driver.send("message", from_="a", to="b", content="x")
    [*_, advanced] = driver.tick()
    assert (advanced.delivered, advanced.waiting) == (5, 0)


def test_agents_remember_their_last_messages(driver):
    driver.run("a b", "a>b", messages_per_tick="all", history_depth=2)
    for number in range(4):
        driver.send("message", from_="a", to="b", content=number)
    driver.tick()
    assert [heard.message_id for heard in driver.simulation.memory.of("b")] == ["m3", "m4"]


def test_what_an_agent_remembers_is_bounded_in_bytes(driver, monkeypatch):
    monkeypatch.setattr(state, "HISTORY_BYTES_MAX", 30)
    driver.run("a b", "a>b", messages_per_tick="all")
    for content in ("x" * 10, "y" * 10, "z" * 10):  # with their quotes 12 bytes each
        driver.send("message", from_="a", to="b", content=content)
    driver.tick()
    memory = driver.simulation.memory
    assert [heard.message_id for heard in memory.of("b")] == ["m2", "m3"]
    driver.send("message", from_="a", to="b", content="w" * 40)
    driver.tick()
    assert (memory.of("b"), len(memory)) == ([], 0)


def test_the_memory_of_a_simulation_is_shared_evenly(driver, monkeypatch):
    monkeypatch.setattr(state, "MEMORY_BYTES_MAX", 30)
    driver.run("a b", "a>b", messages_per_tick="all")
    for content in (1, 2, "x" * 13):  # 15 bytes are each agent's share
        driver.send("message", from_="a", to="b", content=content)
    driver.tick()
    assert [heard.message_id for heard in driver.simulation.memory.of("b")] == ["m3"]


def test_too_many_waiting_messages_are_not_taken(driver, monkeypatch):
    monkeypatch.setattr("hivewire_tick_engine.waiting.WAITING_MAX", 2)
    driver.run("o! a b c")
    assert told(driver.send("message", from_="o", to="*", content="x")) == ["sent o>a", "sent o>b", "dropped o>c"]
    refusal = driver.send("message", to="a", content="x")
    assert isinstance(refusal, Refusal)
    assert refusal.status == 429


def test_first_messages_wait_when_it_starts(driver):
    driver.run("a b", "a>b", messages=[{"from": "a", "to": "b", "content": "go"}, {"to": "a", "content": "go"}])
    assert told(driver.tick())[0] == "delivered a>b"


def test_what_waits_is_bounded_in_bytes_too(driver, monkeypatch):
    monkeypatch.setattr("hivewire_tick_engine.waiting.WAITING_BYTES_MAX", 10)
    driver.run("a b", messages_per_tick="all")
    driver.send("message", to="a", content="0123456789")
    assert driver.send("message", to="a", content="x").status == 429
    driver.tick(2)
    assert driver.simulation.waiting.size_bytes == 0


def test_content_that_is_too_large_or_too_deep_is_refused(driver):
    driver.run("a b")
    deep = []
    for _ in range(100):
        deep = [deep]
    assert "nested more than 100 deep" in driver.send("message", to="a", content=deep).error
    assert told(driver.send("message", to="a", content=["[" * 1000, '\\"[' * 1000])) == ["sent user>a"]
    assert "larger than" in driver.send("message", to="a", content="x" * 65_536).error
