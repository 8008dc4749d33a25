"""What the gateway's sessions mean to a simulation, and what is under way at most."""

from datetime import UTC, datetime

import msgspec
import pytest

from hivewire import codec
from hivewire.events.session import SessionCancelled, SessionFailed, SessionIdle, SessionRunning, SessionTimedOut
from hivewire.rehearsal import dispatch_of, session_of
from hivewire_tick_engine import state
from hivewire_tick_engine.remote import GiveUp, LiveSession, SessionsSeen, answer_in

from .conftest import told

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REMOTE = [{"id": "a"}, {"id": "r", "agent_type": "remote"}]
D1 = session_of("s", 1, "d1")


@pytest.fixture
def asked(driver):
    """A simulation that waits for its remote agent."""

    def ask(**config):
        driver.run(REMOTE, "a=r", messages_per_tick="all", **config)
        driver.send("message", from_="a", to="r", content="?")
        driver.tick()
        return driver

    return ask


def see(driver, seen):
    step = driver.core.observe(seen, driver.now)
    return told(driver._evolve(step)), step.records


def idle(session_id: str, response: object = "!") -> SessionIdle:
    return SessionIdle(session_id=session_id, attempt=1, response=codec.raw(response), response_hash="", idle_at=NOW)


def test_a_session_names_its_dispatch():
    assert dispatch_of(session_of("a-b.c", 12, "d7")) == ("a-b.c", 12, "d7")
    assert [dispatch_of(name) for name in ("d1-1-s", "sim-d1", "sim-d1-x-s", "sim-d1-1-", "")] == [None] * 5


@pytest.mark.parametrize(
    ("event", "answer"),
    [
        (idle(D1), ["responded r", "sent r>a"]),
        (SessionFailed(session_id=D1, error="no", failed_at=NOW), ["responded r", "sent system>a"]),
        (SessionCancelled(session_id=D1, by="ann", cancelled_at=NOW), ["responded r", "sent system>a"]),
        (idle(D1, "x" * 70_000), ["responded r", "sent system>a"]),
    ],
    ids=["idle", "failed", "cancelled", "too large"],
)
def test_how_a_session_ends_is_taken_up_by_the_next_tick(asked, event, answer):
    driver = asked()
    assert see(driver, event)[0] == ["buffered r"]
    assert see(driver, event)[0] == []  # twice
    assert told(driver.tick())[:2] == answer


def test_sessions_of_others_and_of_earlier_runs_mean_nothing(asked):
    driver = asked()
    strangers = (
        idle("d1"),
        idle(session_of("t", 1, "d1")),
        idle(session_of("s", 1, "d2")),
        idle(session_of("s", 2, "d1")),
    )
    assert [see(driver, event)[0] for event in strangers] == [[]] * 4
    assert answer_in(SessionRunning(session_id=D1, attempt=1, running_at=NOW)) is None
    driver.send("reset")
    assert see(driver, idle(D1))[0] == []


def test_the_simulation_counts_its_seconds_itself_but_no_session_outlives_its_own_clock(asked):
    over = SessionTimedOut(session_id=D1, error="no answer", timed_out_at=NOW)
    driver = asked(dispatch_timeout_s=10)
    assert see(driver, over)[0] == []
    driver.after(10)
    assert told(driver.tick())[0] == "timed_out r"


def test_a_session_that_is_over_ends_a_dispatch_that_waits_for_ticks(asked):
    over = SessionTimedOut(session_id=D1, error="no answer", timed_out_at=NOW)
    assert see(asked(dispatch_timeout_ticks=1_000), over)[0] == ["buffered r"]


def test_what_was_missed_is_seen_in_the_rows_and_what_nobody_waits_for_is_given_up(asked):
    driver = asked()
    live = [LiveSession(D1, 1, 1), LiveSession(session_of("s", 1, "d9"), 1, 1)]
    assert see(driver, SessionsSeen(live, [])) == ([], [GiveUp(live[1].session_id)])
    assert see(driver, SessionsSeen([], [answer_in(idle(D1))])) == (["buffered r"], [])
    assert see(driver, SessionsSeen(live[:1], []))[1] == [GiveUp(D1)]


def test_an_owner_that_slept_gives_up_nothing_of_a_simulation_that_went_on_elsewhere(asked):
    driver = asked()
    later = [LiveSession(session_of("s", 1, "d9"), 1, 2), LiveSession(session_of("s", 2, "d1"), 2, 0)]
    unknown = LiveSession(session_of("t", 1, "d1"), 1, 1)
    assert see(driver, SessionsSeen([*later, unknown], []))[1] == []
    completed = LiveSession(session_of("t", 1, "d1"), 1, 1, over=True)
    assert see(driver, SessionsSeen([completed], []))[1] == [GiveUp(completed.session_id)]


# --- bounds -----------------------------------------------------------------------------------------
def test_too_many_open_dispatches_are_an_error_to_the_one_who_asks(driver, monkeypatch):
    monkeypatch.setattr(state, "UNDER_WAY_MAX", 1)
    driver.run(REMOTE, "a=r", messages_per_tick="all")
    for content in ("1", "2"):
        driver.send("message", from_="a", to="r", content=content)
    assert told(driver.tick()) == ["delivered a>r", "sent r", "delivered a>r", "sent system>a", "advanced 1"]
    error = msgspec.json.decode(driver.history[-2].content)
    assert error == {"error": "r was not asked: too much has no answer yet"}


def test_what_is_under_way_is_bounded_in_bytes_and_counted_down_again(driver, monkeypatch):
    monkeypatch.setattr(state, "UNDER_WAY_BYTES_MAX", 60)
    driver.run(REMOTE, "a=r", messages_per_tick="all")
    for content in ("x" * 60, "2"):
        driver.send("message", from_="a", to="r", content=content)
    assert "sent system>a" in told(driver.tick())
    driver.send("respond", dispatch_id="d1", content="!")
    driver.tick()
    assert driver.simulation.under_way_bytes == 0
    driver.send("message", from_="a", to="r", content="2")
    assert told(driver.tick())[:2] == ["delivered a>r", "sent r"]


def test_an_agent_that_collects_answers_for_ever_is_not_given_more(driver, monkeypatch):
    monkeypatch.setattr(state, "UNDER_WAY_MAX", 3)
    silent = {"kind": "scripted", "replies": []}
    agents = [{"id": "lead", "behaviour": {"kind": "delegation", "targets": ["x"]}}, {"id": "x", "behaviour": silent}]
    driver.run(agents, messages_per_tick="all")
    for number in range(3):
        driver.send("message", to="lead", content=number)
    driver.tick()
    assert len(driver.simulation.delegated) == 1
    errors = [event.content for event in driver.history if event.type == "message.sent" and event.kind == "error"]
    assert [msgspec.json.decode(error)["error"] for error in errors] == [
        "lead delegates nothing: too much has no answer yet"
    ] * 2
