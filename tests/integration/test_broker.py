"""The broker on the real bus and database, with agents of the SDK."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from hivewire import Agent, Client, Permanent, RefusedError, correlated
from hivewire.commands.broker import Replay
from hivewire.connection import Connection
from hivewire.context import Context
from hivewire.correlation import current
from hivewire.credentials import Credentials
from hivewire_broker.fold import differences

from .gateway_process import broker, gateway

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def context(hive, role: str, name: str | None = None) -> Context:
    return Context(nats_url=hive.nats_url, hive=hive.name, nats_creds=str(hive.credentials(role, name)))


@asynccontextmanager
async def client(hive, role: str = "operator", name: str | None = None) -> AsyncIterator[Client]:
    credentials = Credentials.load(hive.credentials(role, name))
    async with await Connection.open(hive.nats_url, credentials, hive=hive.name) as connection:
        yield Client(connection)


def agent(hive, agent_id: str, **card: Any) -> Agent:
    return Agent(agent_id, context=context(hive, "agent", agent_id), **card)


async def until(condition) -> None:
    """Wait until an awaited condition holds."""
    while not await condition():
        await asyncio.sleep(0.05)


async def all_are(boss: Client, tasks, status: str) -> bool:
    return all([(await boss.task(task.id)).status == status for task in tasks])


async def fold(hive) -> list[str]:
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name})
    try:
        return await differences(connection)
    finally:
        await connection.close()


@pytest.fixture
async def services(hive) -> AsyncIterator[None]:
    async with gateway(hive), broker(hive):
        yield


async def test_a_replay_goes_on_after_a_restart_of_the_broker(hive):
    """Twenty dead letters, ten a second: the broker ends amid them and goes on with the others."""
    working = False
    ann = agent(hive, "ann", slots=25)

    @ann.task
    async def work(task, _context):
        if not working:
            raise Permanent("the database is away" if task.payload else "it is wrong")

    async with gateway(hive), client(hive) as boss:
        async with broker(hive):
            await ann.start()
            tasks = [await boss.submit("a task", payload=number % 5) for number in range(25)]
            await until(lambda: all_are(boss, tasks, "failed"))
            working = True
            replay = await boss.replay(Replay(error="database", rate=10.0, reason="it is back"))

            async def some_are_replayed() -> bool:
                return (await boss.replay_of(replay.replay_id)).replayed >= 4

            await until(some_are_replayed)
        async with broker(hive):
            wanted = [task for number, task in enumerate(tasks) if number % 5]
            await until(lambda: all_are(boss, wanted, "completed"))

            async def is_over() -> bool:
                return (await boss.replay_of(replay.replay_id)).status == "completed"

            await until(is_over)
            found = await boss.replay_of(replay.replay_id)
            assert (found.refused, found.remaining) == (0, 0)
            assert 16 <= found.replayed <= 20
            assert [one.replay_id async for one in boss.replays()] == [replay.replay_id]
            assert await all_are(boss, [task for task in tasks if task not in wanted], "failed")
            await ann.stop()
    assert await fold(hive) == []


@pytest.mark.usefixtures("services")
async def test_what_an_agent_causes_is_correlated_with_its_task(hive):
    ann = agent(hive, "ann", slots=4)

    @ann.task(needs="lead")
    async def lead(task, context):
        return (await context.hive.submit("part", needs=["part"])).id

    @ann.task(needs="plan")
    def plan(task, context):
        """In a thread."""
        with correlated("something else"):
            pass
        return current().correlationid

    @ann.task(needs="part")
    async def part(task, context):
        return [current().correlationid, current().traceparent]

    async with ann, client(hive) as boss:
        alone = await boss.submit("lead", needs=["lead"])
        with correlated("release-7", TRACE):
            together = await boss.submit("lead", needs=["lead"])
            planned = await boss.submit("plan", needs=["plan"])
        for task, correlation in ((alone, [alone.id, None]), (together, ["release-7", TRACE])):
            child = await task.result(timeout_s=30)
            assert await boss.result(child, 30) == correlation
            assert (await boss.task(child)).correlationid == correlation[0]
        assert await planned.result(timeout_s=30) == "release-7"
    assert await fold(hive) == []


@pytest.mark.usefixtures("services")
async def test_many_tasks_submitted_at_once_are_each_answered_as_if_alone(hive):
    async with client(hive, "publisher", "pub") as pub:
        first = await pub.submit("first", id="first")
        wanted = [
            pub.submit(f"task {n}", key=f"key{n}", payload={"n": n}, after=[first, *([f"key{n - 1}"] if n else [])])
            for n in range(300)
        ]
        wrong = {
            409: pub.submit("another", id="first"),
            422: pub.submit("late", after=["nothing"]),
            400: pub.submit("many", max_concurrent=3),
        }
        again = pub.submit("first", id="first")
        *taken, known = await asyncio.gather(*wanted, *wrong.values(), again, return_exceptions=True)
        refused = [taken.pop() for _ in wrong][::-1]
        assert [(type(error), error.status) for error in refused] == [(RefusedError, status) for status in wrong]
        assert (known.id, known.created) == ("first", False)
        assert all(task.created for task in taken)
        tasks = [await pub.task(task.id) for task in taken]
        assert [task.title for task in tasks] == [f"task {n}" for n in range(300)]
        assert [task.depends_on[1:] for task in tasks[1:]] == [[task.task_id] for task in tasks[:-1]]
        stats = await pub.stats()
        assert sum(stats.tasks.values()) == 301
    assert await fold(hive) == []
