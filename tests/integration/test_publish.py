"""Events from outside, on the real nats-server and the real Postgres."""

import asyncio

import asyncpg
import pytest

from hivewire import Client, RefusedError, reads
from hivewire.context import Context
from hivewire.events.merge import MergeCompleted
from hivewire_agent_gateway import fold

from .test_conversation import running


def connect(hive, role: str = "publisher", name: str | None = "ci"):
    context = Context(nats_url=hive.nats_url, hive=hive.name, nats_creds=str(hive.credentials(role, name)))
    return Client.connect(context=context)


async def test_events_are_recorded_once_also_across_restarts_and_then_published(hive):
    async with connect(hive) as ci:
        heard: asyncio.Queue = asyncio.Queue()
        await ci.connection.listen(
            ci.connection.subjects.events("merge.*"), lambda subject, _: heard.put_nowait(subject)
        )
        async with running(hive, "agent-gateway"):
            assert (await ci.publish(MergeCompleted(task_id="t 1"), id="e1")).recorded
            assert not (await ci.publish(MergeCompleted(task_id="t 1"), id="e1")).recorded
        async with running(hive, "agent-gateway", "broker"):
            assert not (await ci.publish(MergeCompleted(task_id="t 1"), id="e1")).recorded
            await ci.publish("deploy.done", {"a": 1}, entity_id="prod")
            assert await heard.get() == f"{hive.name}.evt.merge.completed.t%201"
            found = (await ci.events(reads.ListEvents(type="merge"))).items
            assert [bytes(event.data) for event in found] == [b'{"publisher":"ci","event_id":"e1","task_id":"t 1"}']
            (unknown,) = (await ci.events(reads.ListEvents(type="deploy", entity_id="prod"))).items
            assert b'"data":{"a":1}' in bytes(unknown.data)


async def test_what_cannot_be_taken_is_among_the_rejects(hive):
    async with running(hive, "agent-gateway", "broker"), connect(hive) as ci:
        for kind, status in (("task.completed", 403), ("merge.completed", 400), ("nonsense", 400)):
            with pytest.raises(RefusedError) as refused:
                await ci.publish(kind, {"odd": True})
            assert refused.value.status == status
        with pytest.raises(RefusedError, match="too large") as refused:
            await ci.publish("log.big", {"data": "x" * 5_000_000})
        assert refused.value.status == 413
        assert ci.connection.too_large == 1
        rejects = [reject async for reject in ci.rejects()]
        assert len(rejects) == 3
        assert all("odd" in reject.body and reject.sender == "ci" for reject in rejects)
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name})
    assert await fold.differences(connection) == []
    await connection.close()
