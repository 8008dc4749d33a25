import msgspec

from hivewire import codec, inbox
from hivewire.envelope import Envelope
from hivewire.inbox import Replaced, Sync
from hivewire.subjects import Subjects
from hivewire_agent_gateway.beats import Tell
from hivewire_agent_gateway.rows import SQL, AgentRows


def decoded(message) -> tuple[str, object]:
    envelope = codec.decode_envelope(message.body)
    assert isinstance(envelope, Envelope)
    assert envelope.source == "/hive/agent-gateway"
    return message.subject, codec.decode_data(envelope, inbox.KINDS)


async def messages(driver, events, records=()):
    rows = AgentRows(driver.core, Subjects("hive"))
    return [decoded(message) for message in await rows.messages(None, events, records)]


async def test_a_pushed_out_instance_is_told(driver):
    driver.register("bob", "a")
    events = driver.register("bob", "b")
    assert await messages(driver, events) == [("hive.inbox.bob.replaced", Replaced("b"))]


async def test_a_first_instance_disturbs_nobody(driver):
    assert await messages(driver, driver.register("bob", "a")) == []


async def test_the_instance_of_a_removed_agent_is_told_to_stop(driver):
    driver.register("bob", "a")
    events = driver.send("operator", "remove", agent_id="bob")
    assert await messages(driver, events) == [("hive.inbox.bob.replaced", Replaced(""))]


async def test_what_follows_from_beats_is_told(driver):
    records = [Tell("bob", Sync("a")), Tell("eve", Replaced("b"))]
    assert await messages(driver, [], records) == [
        ("hive.inbox.bob.sync", Sync("a")),
        ("hive.inbox.eve.replaced", Replaced("b")),
    ]


def test_a_batch_is_one_upsert_and_one_delete(driver):
    events = [*driver.register("bob"), *driver.register("eve", metadata=msgspec.Raw(b'{"x": "\\u0000"}'))]
    events += driver.send("operator", "drain", agent_id="bob")
    events += driver.register("gone") + driver.send("operator", "remove", agent_id="gone")
    upsert, delete = AgentRows(driver.core, Subjects("hive")).writes(events, [], driver.now)
    assert upsert.sql == SQL.write_agents
    assert upsert.arguments[0] == ("bob", "eve")
    assert upsert.arguments[5] == (True, False)
    assert upsert.arguments[11] == ("{}", '{"x": "\\u0000"}')
    assert delete == (SQL.delete_agents, (["gone"],))
    assert list(AgentRows(driver.core, Subjects("hive")).writes([], [], driver.now)) == []
