"""Agents that are away are woken, and those that cannot be reached are the last choice."""

import json
import sys

import pytest

from hivewire import Agent, reads
from hivewire.commands.agent_gateway import AgentBrief, Register
from hivewire.errors import RefusedError, TaskFailed
from hivewire.subjects import AGENT_GATEWAY

from .gateway_process import broker, gateway
from .test_broker import agent, client, fold, until
from .test_http_agents import endpoint  # noqa: F401

LOCAL = {"HIVEWIRE_OUTBOUND_NETWORKS": '["127.0.0.0/8"]'}
PROGRAM = """
import os, sys
from hivewire import Agent
agent = Agent("cid", can=["c"], on_demand=True, wake="start-cid", nats_url=sys.argv[1], creds=sys.argv[2], hive=sys.argv[3])

@agent.task
def work(task, context):
    return sorted(name for name in os.environ if name.startswith(("HIVEWIRE_", "NATS_")))

agent.run()
"""


def sleeper(hive, wake: str) -> Agent:
    bob = agent(hive, "bob", can=["b"], on_demand=True, wake=wake)

    @bob.task
    async def work(task, _context):
        return task.title

    return bob


async def doze(hive, wake: str) -> None:
    """An agent registers once, and leaves."""
    async with sleeper(hive, wake):
        pass


async def test_an_agent_is_woken_by_a_signed_post_when_a_task_needs_it(hive, endpoint):  # noqa: F811
    async with gateway(hive, **LOCAL), broker(hive), client(hive) as boss:
        await doze(hive, f"{endpoint.url}/wake")
        task = await boss.submit("needed", needs=["b"])
        post = await endpoint.posts.get()
        assert post.data == {"type": "wake", "agent_id": "bob", "hive": hive.name}
        assert post.headers["x-hivewire-signature"].startswith("t=")
        why = await boss.why(task.id)
        assert why.waits_for == "agent bob"
        async with sleeper(hive, endpoint.url):
            assert await task.result(30) == "needed"
        explained = await boss.explain(task.id)
        assert explained.woken
        assert "woken for it" in explained.reason
        events = [event.type async for event in boss.watch(task.id)]
        assert events[2:5] == ["task.waking", "task.wake_ended", "task.assigned"]
        brief = await boss.wake("bob")
        assert brief.state == "away"
        assert json.loads((await endpoint.posts.get()).body)["type"] == "wake"
    assert await fold(hive) == []


async def test_a_command_of_the_operators_wakes_it_and_learns_no_secret(hive, tmp_path):
    for folder in ("run", "logs"):
        (tmp_path / folder).mkdir()
    argv = [sys.executable, "-c", PROGRAM, hive.nats_url, str(hive.credentials("agent", "cid")), hive.name]
    settings = {"HIVEWIRE_DATA": str(tmp_path), "HIVEWIRE_WAKE_COMMANDS": json.dumps({"start-cid": argv})}
    async with gateway(hive, **settings), broker(hive), client(hive) as boss:
        cid = agent(hive, "cid", can=["c"], on_demand=True, wake="start-cid")
        async with cid:
            pass
        task = await boss.submit("needed", needs=["c"])
        assert await task.result(60) == ["HIVEWIRE_AGENT_ID", "HIVEWIRE_DATA"]
        assert (tmp_path / "logs" / "agent-cid.log").exists()


async def test_one_that_cannot_be_woken_is_given_up_for_another(hive):
    async with gateway(hive), broker(hive), client(hive) as boss:
        await doze(hive, "https://10.0.0.1/private")
        task = await boss.submit("needed", needs=["b"])

        async def has_failed() -> bool:
            return bool((await boss.events(reads.ListEvents(type="agent.wake_failed"))).items)

        await until(has_failed)
        failed = (await boss.events(reads.ListEvents(type="agent.wake_failed"))).items[0]
        assert b"not public" in bytes(failed.data)
        ann = agent(hive, "ann", can=["b"])
        ann.task(lambda task, _context: "done by another")
        async with ann:
            assert await task.result(30) == "done by another"
        with pytest.raises(RefusedError, match="names neither a URL nor a command"):
            await boss.drain("ann") and await boss.wake("ann")


async def test_an_endpoint_that_cannot_be_reached_is_the_last_choice(hive):
    async with gateway(hive, **LOCAL), broker(hive), client(hive) as boss, client(hive, "agent", "web") as web:
        card = Register(
            instance="1", agent_type="remote", endpoint_url="http://127.0.0.1:9/", capabilities=["b"], slots=4
        )
        await web.connection.command(AGENT_GATEWAY, "register", card, AgentBrief)
        first = await boss.submit("first", needs=["b"], max_retries=0)
        with pytest.raises(TaskFailed, match="cannot be reached"):
            await first.result(30)
        ann = agent(hive, "ann", can=["b"])
        ann.task(lambda task, _context: "done")
        async with ann:
            second = await boss.submit("second", needs=["b"])
            assert await second.result(30) == "done"
        by_id = {one.agent_id: one for one in (await boss.explain(second.id)).candidates}
        assert by_id["web"].factors["availability"].value == 0.0
