import itertools
from datetime import timedelta

from hivewire import limits
from hivewire.events.agent import AgentWaiting
from hivewire_service.core import Refusal

from .conftest import START


def waiting(events) -> AgentWaiting:
    (found,) = (event for event in events if isinstance(event, AgentWaiting))
    return found


def test_an_attempt_waits_from_its_first_question_to_its_last_answer(driver):
    driver.give("ann", "t1")
    first = waiting(driver.ask("ann", "agent:bob", id="c1", task_id="t1", attempt=1, timeout_seconds=60))
    assert (first.task_id, first.attempt, first.waiting_since) == ("t1", 1, START)
    assert first.pause_until == START + timedelta(seconds=60)
    driver.after(10)
    both = waiting(driver.ask("ann", "agent:eve", id="c2", task_id="t1", attempt=1, timeout_seconds=60))
    assert [q.conversation_id for q in both.questions] == ["c1", "c2"]
    assert (both.waiting_since, both.pause_until) == (START, START + timedelta(seconds=70))
    driver.after(5)
    assert [q.conversation_id for q in waiting(driver.answer("bob", "c1")).questions] == ["c2"]
    done = waiting(driver.send("ann", "withdraw", conversation_id="c2"))
    assert (done.questions, done.paused_s, done.pause_until) == ([], 15.0, None)
    assert driver.core.state.waits == {}


def test_a_pause_is_bounded(driver):
    driver.give("ann", "t1")
    events = driver.ask("ann", "agent:bob", task_id="t1", attempt=1, timeout_seconds=limits.ANSWER_TIMEOUT_S_MAX)
    assert waiting(events).pause_until == START + timedelta(seconds=limits.PAUSE_S_MAX)


def test_only_an_open_attempt_of_ones_own_can_wait(driver):
    driver.give("bob", "t1")
    driver.give("ann", "t2", still_open=False)
    statuses = {
        answer.status
        for answer in (
            driver.ask("ann", "agent:bob", task_id="t1", attempt=1),
            driver.ask("ann", "agent:bob", task_id="t9", attempt=1),
        )
    }
    assert statuses == {403}
    assert driver.ask("ann", "agent:bob", task_id="t2", attempt=1).status == 409
    assert driver.ask("ann", "agent:bob", task_id="t2").status == 400


def test_a_later_attempt_waits_for_the_question_of_an_earlier_one(driver):
    driver.give("ann", "t1", 1)
    driver.ask("ann", "agent:bob", id="c1", task_id="t1", attempt=1)
    driver.give("ann", "t1", 2)
    ended, begun = driver.ask("ann", "agent:bob", id="c1", task_id="t1", attempt=2)
    assert (ended.attempt, ended.questions, begun.attempt) == (1, [], 2)
    assert list(driver.core.state.waits) == [("t1", 2)]
    driver.answer("bob", "c1")
    assert driver.core.state.waits == {}


def deadlock(driver, *agents: str) -> Refusal | list:
    """Each of `agents` asks the next from its only slot, and the last one the first."""
    for n, (asker, asked) in enumerate(itertools.pairwise(agents)):
        driver.give(asker, f"of-{asker}")
        events = driver.ask(asker, f"agent:{asked}", id=f"q{n}", task_id=f"of-{asker}", attempt=1)
        assert not isinstance(events, Refusal)
    driver.give(agents[-1], f"of-{agents[-1]}")
    return driver.ask(agents[-1], f"agent:{agents[0]}", task_id=f"of-{agents[-1]}", attempt=1)


def test_a_closing_question_is_refused_naming_the_cycle(driver):
    answer = deadlock(driver, "ann", "bob", "eve")
    assert answer.status == 409
    assert answer.detail == {"cycle": ["eve", "ann", "bob", "eve"]}
    assert "eve -> ann -> bob -> eve" in answer.error


def test_a_question_handler_or_a_free_slot_breaks_the_cycle(driver):
    driver.know("bob", answers_while_busy=True)
    assert not isinstance(deadlock(driver, "ann", "bob", "eve"), Refusal)


def test_a_free_slot_breaks_the_cycle(driver):
    driver.know("bob", slots=2)
    assert not isinstance(deadlock(driver, "ann", "bob", "eve"), Refusal)


def test_edges_end_with_their_attempts(driver):
    driver.give("ann", "t1")
    driver.ask("ann", "agent:bob", task_id="t1", attempt=1)
    driver.give("ann", "t1", still_open=False)
    driver.give("bob", "t2")
    assert not isinstance(driver.ask("bob", "agent:ann", task_id="t2", attempt=1), Refusal)


def test_a_follow_up_in_the_same_thread_is_no_deadlock(driver):
    driver.give("ann", "t1")
    driver.ask("ann", "agent:bob", id="c1", task_id="t1", attempt=1)
    driver.give("bob", "t2")
    assert not isinstance(driver.ask("bob", "agent:ann", thread="c1", task_id="t2", attempt=1), Refusal)


def test_a_thread_does_not_hide_a_cycle_through_others(driver):
    driver.ask("ann", "agent:bob", id="c0")
    driver.answer("bob", "c0")
    driver.give("ann", "t1")
    driver.ask("ann", "agent:eve", task_id="t1", attempt=1)
    driver.give("eve", "t2")
    driver.ask("eve", "agent:bob", task_id="t2", attempt=1)
    driver.give("bob", "t3")
    answer = driver.ask("bob", "agent:ann", thread="c0", task_id="t3", attempt=1)
    assert answer.status == 409
