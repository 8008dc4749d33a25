import msgspec
import pytest

from hivewire import codec
from hivewire.commands.agent_gateway import Published
from hivewire.events.agent import AgentOutput
from hivewire.events.foreign import UnknownEvent
from hivewire.events.merge import MergeConflicted
from hivewire.subjects import Subjects
from hivewire_service.core import Kept, Refusal


def publish(driver, kind: str, data: bytes = b"{}", sender: str = "ci", **more):
    return driver.send(sender, "publish", type=kind, data=msgspec.Raw(data), **more)


def test_a_typed_event_bears_its_proven_publisher(driver):
    body = b'{"task_id": "t1", "conflicting_files": ["a"], "publisher": "somebody else"}'
    (event,) = publish(driver, "merge.conflicted", body, id="e1")
    assert event == MergeConflicted(task_id="t1", conflicting_files=["a"], publisher="ci", event_id="e1")


def test_an_event_is_recorded_once_per_publisher_and_id(driver):
    driver.core.recorded.begin(set())
    assert len(publish(driver, "page.created", b'{"page_id": "p"}', id="e1")) == 1
    assert publish(driver, "page.created", b'{"page_id": "p"}', id="e1") == []
    assert len(publish(driver, "page.created", b'{"page_id": "p"}', "other", id="e1")) == 1
    driver.core.recorded.begin({("ci", "e2")})
    assert publish(driver, "page.created", b'{"page_id": "p"}', id="e2") == []


def test_an_unknown_type_is_kept_whole_and_marked(driver):
    body = b'{"deep": {"x": 1e400}, "n": 1.0}'
    (event,) = publish(driver, "deploy.rolled_back", body, entity_id="prod.1", id="e1")
    assert isinstance(event, UnknownEvent)
    assert (event.type, event.entity_id, event.data) == ("deploy.rolled_back", "prod.1", msgspec.Raw(body))
    kept = msgspec.json.decode(codec.encode(event), type=dict[str, msgspec.Raw])
    assert kept["data"] == msgspec.Raw(body)
    assert kept["unknown"] == msgspec.Raw(b'"deploy.rolled_back"')
    assert Subjects().event(event.type, event.entity_id) == "hive.evt.deploy.rolled_back.prod%2E1"


@pytest.mark.parametrize("kind", ["task.completed", "agent.spawned", "conversation.created", "task.made_up"])
def test_our_own_facts_do_not_come_from_outside(driver, kind):
    answer = publish(driver, kind)
    assert isinstance(answer, Refusal)
    assert (answer.status, answer.kept) == (403, Kept.MESSAGE)


def test_of_agents_only_output_and_account_switched_come_from_outside(driver):
    (event,) = publish(driver, "agent.output", b'{"agent_id": "bob", "data": "hello"}')
    assert isinstance(event, AgentOutput)
    assert len(publish(driver, "agent.account_switched", b'{"agent_id": "bob", "account_id": "a"}')) == 1


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("merge.completed", b"{}"),
        ("merge.completed", b'{"task_id": 1}'),
        ("account.credentials_refreshed", b'{"account_id": "a", "expires_at": "soon"}'),
        ("nodot", b"{}"),
        ("a.b.c", b"{}"),
        ("Big.Letters", b"{}"),
        ("spaced .x", b"{}"),
        ("mine.list", b"[]"),
        ("merge.completed", b'{"task_id": "\\u0000"}'),
    ],
)
def test_what_is_malformed_is_rejected_with_a_reason(driver, kind, data):
    answer = publish(driver, kind, data)
    assert isinstance(answer, Refusal)
    assert (answer.status, answer.kept) == (400, Kept.MESSAGE)
    assert answer.error


def test_the_reply_tells_whether_it_is_new(driver):
    from hivewire.commands.agent_gateway import Publish
    from hivewire_service.core import Command

    data = Publish(type="x.y", id="e1")
    for recorded in (True, False):
        command = Command("c", "publish", "ci", data)
        step = driver.core.decide(command, driver.now)
        for event in step.events:
            driver.core.evolve(event)
        assert driver.core.reply(command) == Published("e1", recorded)
