"""Agents that are away are woken, and those that cannot be reached are the last choice."""

import json
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.routing import Route
from tests.conftest import Hive

from hivewire import Agent, Client, reads
from hivewire.commands.agent_gateway import AgentBrief, Register
from hivewire.errors import RefusedError, TaskFailed
from hivewire.subjects import AGENT_GATEWAY
from integration.gateway_process import broker, gateway
from integration.test_broker import agent, client, fold, until
from integration.test_http_agents import Endpoint, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROGRAM = """
import os, sys
from hivewire import Agent
agent = Agent("cid", can=["c"], on_demand=True, wake="start-cid", nats_url=sys.argv[1], creds=sys.argv[2], hive=sys.argv[3])

@agent.task
def work(task, context):
    return sorted(name for name in os.environ if name.startswith(("HIVEWIRE_", "NATS_")))

agent.run()
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hive(stack, tmp_path_factory) -> AsyncIterator[Hive]:
    """A hive whose gateway may run a command, like that of `hivewire up`; its services run for all tests."""
    folder = tmp_path_factory.mktemp("waking")
    for name in ("run", "logs"):
        (folder / name).mkdir()
    issuer = stack.nats.add_hive("waking")
    keys_file = stack.nats.keys_file("waking")
    hive = Hive("waking", stack.nats.url, stack.postgres.dsn, keys_file, issuer, folder)
    argv = [sys.executable, "-c", PROGRAM, hive.nats_url, str(hive.credentials("agent", "cid")), hive.name]
    settings = {
        "HIVEWIRE_DATA": str(folder),
        "HIVEWIRE_WAKE_COMMANDS": json.dumps({"start-cid": argv}),
        "HIVEWIRE_OUTBOUND_NETWORKS": '["127.0.0.0/8"]',
    }
    async with gateway(hive, **settings), broker(hive):
        yield hive
    assert await fold(hive) == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def boss(hive) -> AsyncIterator[Client]:
    async with client(hive) as one:
        yield one


def sleeper(hive, name: str, wake: str) -> Agent:
    """An agent that is there on demand, and can what it is called."""
    one = agent(hive, name, can=[name], on_demand=True, wake=wake)

    @one.task
    async def work(task, _context):
        return task.title

    return one


async def test_an_agent_is_woken_by_a_signed_post_when_a_task_needs_it(hive, boss):
    endpoint = Endpoint()
    app = Starlette(routes=[Route("/wake", endpoint.handle, methods=["POST"])])
    async with serve(app) as url:
        async with sleeper(hive, "bob", f"{url}/wake"):
            pass
        task = await boss.submit("needed", needs=["bob"])
        post = await endpoint.posts.get()
        assert post.data == {"type": "wake", "agent_id": "bob", "hive": hive.name}
        assert post.headers["x-hivewire-signature"].startswith("t=")
        assert (await boss.why(task.id)).waits_for == "agent bob"
        async with sleeper(hive, "bob", f"{url}/wake"):
            assert await task.result(30) == "needed"
        assert (await boss.wake("bob")).state == "away"
        assert (await endpoint.posts.get()).data["type"] == "wake"
    explained = await boss.explain(task.id)
    assert explained.woken
    assert "woken for it" in explained.reason
    events = [event.type async for event in boss.watch(task.id)]
    assert events[2:5] == ["task.waking", "task.wake_ended", "task.assigned"]


async def test_a_command_of_the_operators_wakes_it_and_learns_no_secret(hive, boss):
    async with sleeper(hive, "cid", "start-cid"):
        pass
    task = await boss.submit("needed", needs=["cid"])

    async def has_come() -> bool:
        return (await boss.agent("cid")).state == "present"

    await until(has_come)
    assert await boss.result((await boss.submit("what is there", needs=["c"])).id, 30) == [
        "HIVEWIRE_AGENT_ID",
        "HIVEWIRE_DATA",
    ]
    await boss.cancel(task.id)
    assert (hive.folder / "logs" / "agent-cid.log").exists()


async def test_one_that_cannot_be_woken_is_given_up_for_another(hive, boss):
    async with sleeper(hive, "dan", "https://10.0.0.1/private"):
        pass
    task = await boss.submit("needed", needs=["dan"])
    query = reads.ListEvents(type="agent.wake_failed")

    async def has_failed() -> bool:
        return bool((await boss.events(query)).items)

    await until(has_failed)
    assert b"not public" in bytes((await boss.events(query)).items[0].data)
    ann = agent(hive, "ann", can=["dan"])
    ann.task(lambda task, _context: "done by another")
    async with ann:
        assert await task.result(30) == "done by another"
    with pytest.raises(RefusedError, match="names neither a URL nor a command"):
        await boss.wake("ann")


async def test_an_endpoint_that_cannot_be_reached_is_the_last_choice(hive, boss):
    async with client(hive, "agent", "web") as web:
        card = Register(
            instance="1", agent_type="remote", endpoint_url="http://127.0.0.1:9/", capabilities=["w"], slots=4
        )
        await web.connection.command(AGENT_GATEWAY, "register", card, AgentBrief)
    first = await boss.submit("first", needs=["w"], max_retries=0)
    with pytest.raises(TaskFailed, match="cannot be reached"):
        await first.result(30)
    eve = agent(hive, "eve", can=["w"])
    eve.task(lambda task, _context: "done")
    async with eve:
        second = await boss.submit("second", needs=["w"])
        assert await second.result(30) == "done"
    by_id = {one.agent_id: one for one in (await boss.explain(second.id)).candidates}
    assert by_id["web"].factors["availability"].value == 0.0
