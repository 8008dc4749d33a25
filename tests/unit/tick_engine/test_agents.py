import msgspec
import pytest

from hivewire_tick_engine.behaviours import chance, fits

from .conftest import told


def scripted(*replies, **more):
    return {"kind": "scripted", "replies": [{"pattern": "*", **reply} for reply in replies], **more}


def contents(events):
    return [msgspec.json.decode(event.content) for event in events if event.type == "message.sent"]


# --- scripted ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("deploy", "please DEPLOY now", True),
        ("deploy*prod", "deploy to the prod", True),
        ("prod*deploy", "deploy to the prod", False),
        ("v?.1", "take v2.1", True),
        ("*", "", True),
        ("", "anything", True),
        ("a.c", "abc", False),
        ("[x]", "x", False),
    ],
)
def test_patterns(pattern, text, expected):
    assert fits(pattern, text) is expected


def test_no_pattern_takes_long():
    assert not fits("*a" * 400 + "b", "a" * 60_000)


def test_the_first_reply_that_fits_is_given_after_its_ticks(driver):
    script = scripted({"pattern": "ping", "reply": "pong", "after_ticks": 3}, {"pattern": "p", "reply": "never"})
    driver.run([{"id": "a", "behaviour": script}, {"id": "b"}], "a=b", messages_per_tick="all")
    driver.send("message", from_="b", to="a", content="ping")
    assert told(driver.tick(4)) == [
        "delivered b>a", "sent a>b", "advanced 1", "advanced 2", "advanced 3", "delivered a>b", "advanced 4",
    ]  # fmt: skip


def test_a_reply_may_go_to_somebody_else(driver):
    script = scripted({"reply": {"fyi": 1}, "to": "c"})
    driver.run([{"id": "a", "behaviour": script}, {"id": "b"}, {"id": "c"}], "b>a a>c")
    driver.send("message", from_="b", to="a", content="ping")
    assert told(driver.tick())[1] == "sent a>c"


def test_failures_come_from_the_seed(driver):
    script = scripted({"reply": "ok", "failure_rate": 0.5})
    driver.run([{"id": "a", "behaviour": script}], messages_per_tick="all", seed=7)
    for _ in range(200):
        driver.send("message", to="a", content="x")
    failed = [content for content in contents(driver.tick()) if content == {"error": "a failed"}]
    assert 70 < len(failed) < 130
    assert [chance(7, f"m{n}", "a") < 0.5 for n in range(1, 201)].count(True) == len(failed)


def test_errors_are_not_answered(driver):
    driver.run([{"id": "a", "behaviour": scripted({"reply": "x", "failure_rate": 1})}], messages_per_tick="all")
    driver.send("message", from_="a", to="a", content="x")
    assert told(driver.tick(3)) == [
        "delivered a>a", "sent system>a", "advanced 1", "delivered system>a", "advanced 2", "advanced 3",
    ]  # fmt: skip


# --- delegation -------------------------------------------------------------------------------------
def delegating(driver, edges="o=a o=b", **more):
    agents = [{"id": "o", "behaviour": {"kind": "delegation"}}, {"id": "a"}, {"id": "b", **more}]
    driver.run(agents, edges, messages_per_tick="all", dispatch_timeout_ticks=2)


def test_a_message_is_split_and_its_answers_are_collected(driver):
    delegating(driver)
    driver.send("message", to="o", content=["x", "y", "z"])
    events = driver.tick(4)
    assert told(events)[-2:] == ["delivered o>user", "advanced 4"]
    assert contents(events) == [
        ["x", "z"],
        ["y"],
        "a got m2",
        "b got m3",
        {"answers": {"a": "a got m2", "b": "b got m3"}},
    ]
    assert driver.simulation.delegated == driver.simulation.parts == {}


def test_a_part_without_an_answer_is_an_error_in_the_final_one(driver):
    delegating(driver, agent_type="remote")
    driver.send("message", to="o", content="x")
    final = contents(driver.tick(5))[-1]
    assert final["answers"] == {"a": "a got m2", "b": {"error": "b did not answer: no response within 2 ticks"}}


def test_an_answer_that_the_graph_blocks_does_not_hold_up_the_others(driver):
    delegating(driver, "o=a o>b")
    driver.send("message", to="o", content="x")
    final = contents(driver.tick(5))[-1]
    assert final["answers"]["b"] == {"error": "the answer of b did not pass: the graph has no edge from b to o"}


def test_parts_that_do_not_pass_are_answered_at_once(driver):
    agents = [{"id": "o", "behaviour": {"kind": "delegation", "targets": ["a"]}}, {"id": "a"}]
    driver.run(agents, "a>o")
    driver.send("message", to="o", content="x")
    assert told(driver.tick())[:3] == ["delivered user>o", "blocked_by_graph o>a", "sent o>user"]


def test_a_delegation_may_be_part_of_another(driver):
    agents = [
        {"id": "o", "behaviour": {"kind": "delegation", "targets": ["p"]}},
        {"id": "p", "behaviour": {"kind": "delegation", "targets": ["a"]}},
        {"id": "a"},
    ]
    driver.run(agents, messages_per_tick="all")
    driver.send("message", to="o", content="x")
    final = contents(driver.tick(8))[-1]
    assert final == {"answers": {"p": {"answers": {"a": "a got m3"}}}}


def test_answers_that_are_too_large_together_are_an_error(driver):
    long = {"kind": "scripted", "replies": [{"pattern": "", "reply": "x" * 40_000}]}
    agents = [{"id": "o", "behaviour": {"kind": "delegation"}}, *({"id": i, "behaviour": long} for i in "ab")]
    driver.run(agents, messages_per_tick="all")
    driver.send("message", to="o", content="x")
    assert "cannot be passed on: it is larger than" in contents(driver.tick(4))[-1]["error"]


def test_without_anybody_to_delegate_to_the_one_who_asked_hears_so(driver):
    driver.run([{"id": "o", "behaviour": {"kind": "delegation"}}])
    driver.send("message", to="o", content="x")
    assert contents(driver.tick(2)) == [{"error": "o has nobody to delegate to"}]
    assert driver.simulation.delegated == {}


# --- remote agents and callables --------------------------------------------------------------------
REMOTE = [{"id": "a"}, {"id": "r", "agent_type": "remote", "endpoint_url": "https://r"}]


def test_a_remote_agent_is_asked_and_the_simulation_goes_on(driver):
    driver.run(REMOTE, "a=r", messages_per_tick="all")
    driver.send("message", from_="a", to="r", content="?")
    assert told(driver.tick(2)) == ["delivered a>r", "sent r", "advanced 1", "advanced 2"]
    assert told(driver.send("respond", dispatch_id="d1", content="!")) == ["buffered r"]
    assert driver.send("respond", dispatch_id="d1", content="!").error == "dispatch 'd1' is answered already"
    assert told(driver.tick()) == ["responded r", "sent r>a", "delivered r>a", "advanced 3"]
    assert driver.send("respond", dispatch_id="d1", content="!").status == 409


def test_a_remote_agents_error_goes_to_the_one_who_asked(driver):
    driver.run(REMOTE, "a=r", messages_per_tick="all")
    driver.send("message", from_="a", to="r", content="?")
    driver.tick()
    driver.send("respond", dispatch_id="d1", error="out of tokens")
    assert contents(driver.tick()) == [{"error": "r failed: out of tokens"}]


def test_seconds_are_counted_from_the_dispatch_and_strike_in_a_tick(driver):
    driver.run(REMOTE, "a=r", messages_per_tick="all", dispatch_timeout_s=10)
    driver.send("message", from_="a", to="r", content="?")
    driver.tick()
    driver.after(9)
    assert told(driver.tick()) == ["advanced 2"]
    driver.core.extend(5, driver.now)
    driver.after(5)
    assert told(driver.tick()) == ["advanced 3"]
    driver.after(1)
    assert told(driver.tick())[:3] == ["timed_out r", "sent system>a", "delivered system>a"]


def test_an_answer_in_time_beats_the_timeout_of_the_same_tick(driver):
    driver.run(REMOTE, "a=r", messages_per_tick="all", dispatch_timeout_ticks=1)
    driver.send("message", from_="a", to="r", content="?")
    driver.tick()
    driver.send("respond", dispatch_id="d1", content="!")
    assert told(driver.tick())[0] == "responded r"


def test_a_response_of_an_earlier_run_is_refused(driver):
    driver.run(REMOTE, messages=[{"from": "a", "to": "r", "content": "?"}])
    driver.tick()
    driver.send("reset")
    driver.send("start")
    driver.tick()
    assert driver.send("respond", dispatch_id="d1", content="old", run=1).status == 409
    assert told(driver.send("respond", dispatch_id="d1", content="new", run=2)) == ["buffered r"]


def test_a_callable_answers_like_a_remote_agent(driver):
    driver.run([{"id": "a", "behaviour": {"kind": "callable", "name": "double"}}], messages_per_tick="all")
    driver.send("message", to="a", content=21)
    [_, dispatch, _] = driver.tick()
    assert dispatch.callable == "double"
    assert told(driver.answer("d1", 42)) == ["buffered a"]
    assert driver.answer("d1", 43) == driver.answer("d9", 43) == []
    assert contents(driver.tick()) == [42]
