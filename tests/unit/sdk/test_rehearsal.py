"""A simulation's message as the task that an agent's handlers get, and their reports as what is said of the session."""

import msgspec
import pytest

from hivewire import codec
from hivewire.commands.broker import Complete, Fail, Progress, Start
from hivewire.commands.sessions import Respond, SessionProgress
from hivewire.inbox import SessionDispatch
from hivewire.rehearsal import as_said, as_task


def asked(content: object) -> SessionDispatch:
    return SessionDispatch(
        message_id="sim-d1-1-s.2",
        session_id="sim-d1-1-s",
        attempt=2,
        agent_id="ann",
        instance="ann-1",
        content=codec.raw(content),
        context=codec.raw({"simulation": {"tick": 3}}),
    )


@pytest.mark.parametrize(
    ("content", "title", "needs", "payload"),
    [
        ("hello", "hello", ["review"], "hello"),
        ({"n": 1}, '{"n":1}', ["review"], {"n": 1}),
        ({"title": "Review", "needs": ["rust"], "payload": [1]}, "Review", ["rust"], [1]),
        ({"title": ""}, '{"title":""}', ["review"], {"title": ""}),
        ("x" * 600, "x" * 500, ["review"], "x" * 600),
    ],
)
def test_a_message_is_a_task(content, title, needs, payload):
    task = as_task(asked(content), ["review"])
    assert (task.task_id, task.attempt, task.instance) == ("sim-d1-1-s", 2, "ann-1")
    assert (task.title, task.required_capabilities) == (title, needs)
    assert msgspec.json.decode(task.payload) == payload
    assert msgspec.json.decode(task.metadata) == {"simulation": {"tick": 3}}


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (Start("s", 2, "ann-1"), ("progress", SessionProgress("s", 2))),
        (Progress("s", 2, "ann-1", 0.5, "half"), ("progress", SessionProgress("s", 2, text="half", progress=0.5))),
        (Complete("s", 2, "ann-1", codec.raw(7)), ("respond", Respond("s", 2, content=codec.raw(7)))),
        (Fail("s", 2, "ann-1", "no"), ("respond", Respond("s", 2, error="no"))),
    ],
)
def test_a_report_is_said_of_the_session(report, said):
    assert as_said(report) == said
