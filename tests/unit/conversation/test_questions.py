import pytest

from hivewire import limits
from hivewire.events.agent import AgentDeleted, AgentResumed, AgentStopped
from hivewire.graph import Edge, Node
from hivewire_conversation.delivery import Send
from hivewire_conversation.seen import AgentsSeen, AttemptSeen
from hivewire_service.core import Refusal

from .conftest import raw


def refused(answer, status: int, text: str) -> None:
    assert isinstance(answer, Refusal)
    assert answer.status == status
    assert text in answer.error


def test_a_question_is_asked_delivered_answered_and_its_answer_received(driver, types):
    assert types(driver.ask("ann", "agent:bob", "which?", id="c1")) == ["conversation.created"]
    assert types(driver.send("bob", "receive", ids=["c1"])) == ["conversation.delivered"]
    assert types(driver.answer("bob", "c1", "v2")) == ["conversation.answered"]
    assert driver.replied.answer == raw("v2")
    assert types(driver.send("ann", "receive", ids=["c1"])) == ["conversation.received"]
    assert driver.state_of("c1") == "answered"
    assert not driver.core.state.asked_by
    assert not driver.core.state.ends_for
    assert not driver.core.state.asked_of


def test_the_same_question_again_is_the_same_conversation(driver):
    driver.ask("ann", "agent:bob", "which?", id="c1")
    assert driver.ask("ann", "agent:bob", "which?", id="c1") == []
    refused(driver.ask("ann", "agent:bob", "another?", id="c1"), 409, "another question")
    refused(driver.ask("eve", "agent:bob", "which?", id="c1"), 409, "another question")


def test_who_may_answer_and_how_often(driver):
    driver.ask("ann", "agent:bob", id="c1")
    refused(driver.answer("eve", "c1"), 403, "put to bob")
    driver.answer("bob", "c1", "v2")
    assert driver.answer("bob", "c1", "v2") == []
    refused(driver.answer("bob", "c1", "v3"), 409, "answered already")
    refused(driver.answer("bob", "c9"), 404, "no conversation")


def test_only_the_asker_withdraws(driver, types):
    driver.ask("ann", "agent:bob", id="c1")
    refused(driver.send("bob", "withdraw", conversation_id="c1"), 403, "who alone can withdraw")
    assert types(driver.send("ann", "withdraw", conversation_id="c1")) == ["conversation.withdrawn"]
    assert driver.send("ann", "withdraw", conversation_id="c1") == []
    refused(driver.answer("bob", "c1"), 409, "withdrawn already")


def test_targets_that_cannot_be_asked(driver):
    refused(driver.ask("ann", "agent:nobody"), 404, "no agent 'nobody'")
    refused(driver.ask("ann", "task:t1"), 404, "no task 't1'")
    driver.core.seen.tasks["t1"] = None
    refused(driver.ask("ann", "task:t1"), 409, "never given to an agent")
    refused(driver.ask("ann", "phase:p1"), 409, "no other agent is at work")
    refused(driver.ask("ann", "agent:ann"), 422, "nobody asks himself")
    driver.give("ann", "t2")
    refused(driver.ask("ann", "task:t2"), 422, "nobody asks himself")


@pytest.mark.parametrize("still_open", [True, False])
def test_a_task_means_who_runs_it_or_ran_it_last(driver, still_open):
    driver.give("bob", "t1", 2, still_open=still_open)
    (created,) = driver.ask("ann", "task:t1")
    assert created.agent_id == "bob"
    assert created.resolution == f"{'runs' if still_open else 'was the last to run'} attempt 2 of task t1"


def test_a_phase_means_another_agent_at_work_in_it_for_the_longest(driver):
    at_work = [AttemptSeen(task_id=f"t{n}", attempt=1, agent_id=a, open=True) for n, a in enumerate(("ann", "eve"))]
    driver.core.seen.phases["p1"] = at_work
    (created,) = driver.ask("ann", "phase:p1")
    assert created.agent_id == "eve"
    assert "longest" in created.resolution


def test_a_question_expires_and_the_asker_learns_of_it(driver, types):
    driver.ask("ann", "agent:bob", id="c1", timeout_seconds=10)
    assert types(driver.after(9)[0]) == []
    assert types(driver.after(2)[0]) == ["conversation.expired"]
    refused(driver.answer("bob", "c1"), 409, "expired already")
    assert driver.core.state.conversations["c1"].tells_asker


def test_silence_does_not_count(driver, types):
    driver.ask("ann", "agent:bob", id="c1", timeout_seconds=10)
    driver.core.extend(20, driver.now)
    assert types(driver.after(29)[0]) == []
    assert types(driver.after(2)[0]) == ["conversation.expired"]


def test_everything_open_is_sent_when_an_agent_registers(driver):
    driver.ask("ann", "agent:bob", id="c1")
    driver.send("bob", "receive", ids=["c1"])
    driver.send("ann", "message", target="agent:bob", content=raw("hello"), id="m1")
    driver.ask("bob", "agent:eve", id="c2")
    driver.answer("eve", "c2")
    _, sends = driver.observe(AgentResumed(agent_id="bob", instance="i2", resumed_at=driver.now))
    assert sends == [Send("bob", "c1"), Send("bob", "c2"), Send("bob", "m1")]


def test_what_has_no_receipt_is_sent_again_with_growing_pauses_but_not_to_who_is_away(driver):
    driver.ask("ann", "agent:bob", id="c1")
    assert [len(driver.after(seconds)[1]) for seconds in (4, 2, 4, 7)] == [0, 1, 0, 1]
    driver.observe(AgentStopped(agent_id="bob", instance="i1", stopped_at=driver.now))
    assert driver.after(30)[1] == []
    driver.observe(AgentResumed(agent_id="bob", instance="i1", resumed_at=driver.now))
    driver.send("bob", "receive", ids=["c1"])
    assert [driver.after(60)[1] for _ in range(5)] == [[]] * 5


def test_a_removed_agent_will_not_answer(driver, types):
    driver.ask("ann", "agent:bob", id="c1")
    driver.send("ann", "message", target="agent:bob", content=raw(1), id="m1")
    events, _ = driver.observe(AgentDeleted(agent_id="bob", by="operator"))
    assert types(events) == ["conversation.undeliverable", "message.undeliverable"]


def test_an_agent_missing_from_two_snapshots_was_removed(driver, types):
    driver.ask("ann", "agent:bob", id="c1")
    others = AgentsSeen([driver.core.seen.agents["ann"]])
    assert driver.observe(others)[0] == []
    assert types(driver.observe(others)[0]) == ["conversation.undeliverable"]


def test_bounds(driver):
    too_long = "x" * limits.QUESTION_BYTES_MAX
    refused(driver.ask("ann", "agent:bob", too_long), 413, "allowed")
    driver.ask("ann", "agent:bob", id="c1")
    refused(driver.answer("bob", "c1", too_long), 413, "allowed")
    for _ in range(limits.OPEN_QUESTIONS_MAX - 1):
        driver.ask("ann", "agent:bob")
    refused(driver.ask("ann", "agent:bob"), 429, "open questions")


def test_threads(driver):
    driver.ask("ann", "agent:bob", id="c1")
    (follow_up,) = driver.ask("bob", "agent:ann", id="c2", thread="c1")
    assert follow_up.thread == "c1"
    (third,) = driver.ask("ann", "agent:bob", thread="c2")
    assert third.thread == "c1"
    refused(driver.ask("eve", "agent:bob", thread="c1"), 403, "between others")
    refused(driver.ask("ann", "agent:bob", thread="c9"), 404, "no conversation")


def test_messages_wait_are_delivered_once_and_expire(driver, types):
    assert types(driver.send("ann", "message", target="agent:bob", content=raw(1), id="m1")) == ["message.sent"]
    assert types(driver.send("ann", "message", target="agent:ann", content=raw(2), id="m2")) == ["message.sent"]
    refused(driver.send("ann", "message", target="agent:bob", content=raw(1), id="m1"), 409, "sent before")
    assert types(driver.send("bob", "receive", ids=["m1", "m2", "m9"])) == ["message.delivered"]
    assert driver.send("bob", "receive", ids=["m1"]) == []
    assert types(driver.after(limits.MESSAGE_KEPT_S + 1)[0]) == ["message.undeliverable"]


def test_the_graph_blocks_and_tells(driver, types):
    graph = {"nodes": [Node("ann"), Node("bob"), Node("eve")], "edges": [Edge(source="ann", target="bob")]}
    assert types(driver.send("operator", "set_graph", **graph)) == ["graph.set"]
    assert types(driver.ask("ann", "agent:bob")) == ["conversation.created"]
    assert types(driver.ask("bob", "agent:ann")) == ["message.blocked_by_graph"]
    refused(driver.replied, 403, "no edge from bob to ann")
    assert types(driver.send("bob", "message", target="agent:ann", content=raw(1))) == ["message.blocked_by_graph"]
    assert types(driver.send("operator", "clear_graph")) == ["graph.cleared"]
    assert driver.send("operator", "clear_graph") == []
    assert types(driver.ask("bob", "agent:ann")) == ["conversation.created"]
    loose = {"edges": [Edge(source="ann", target="nobody")]}
    refused(driver.send("operator", "set_graph", **loose), 422, "which is no node")


def test_an_asker_that_never_comes_back_is_told_for_a_day_and_costs_nothing_then(driver):
    for number in range(limits.OPEN_QUESTIONS_MAX):
        driver.ask("gone", "agent:bob", id=f"c{number}")
        driver.answer("bob", f"c{number}")
    assert not isinstance(driver.ask("gone", "agent:bob", id="next"), Refusal)
    for _ in range(500):
        driver.after(300)
    assert not driver.core.state.ends_for
