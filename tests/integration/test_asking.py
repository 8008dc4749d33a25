"""Agents of the SDK that ask one another, on the real servers and services."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from hivewire import Agent, Client, NoAnswer, RefusedError
from hivewire.context import Context
from hivewire_broker import fold as broker_fold
from hivewire_conversation import fold

from .test_conversation import running


def at(hive, role: str, name: str | None = None) -> Context:
    return Context(nats_url=hive.nats_url, hive=hive.name, nats_creds=str(hive.credentials(role, name)))


def agent(hive, name: str, **card) -> Agent:
    return Agent(name, context=at(hive, "agent", name), **card)


@asynccontextmanager
async def client(hive) -> AsyncIterator[Client]:
    async with Client.connect(context=at(hive, "publisher", "boss")) as boss:
        yield boss


@pytest.fixture
async def services(hive) -> AsyncIterator[None]:
    async with running(hive, "broker", "agent-gateway", "conversation"):
        yield


async def differences(hive) -> list[str]:
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name})
    try:
        return await fold.differences(connection) + await broker_fold.differences(connection)
    finally:
        await connection.close()


@pytest.mark.usefixtures("services")
async def test_a_task_asks_who_ran_what_it_depends_on(hive):
    ann, bob = agent(hive, "ann"), agent(hive, "bob")
    told = asyncio.Event()

    @bob.task(needs="build")
    async def build(task, ctx):
        return "built"

    @bob.question
    async def on_question(question, ctx):
        return {"version": 2, "asked_by": question.asker, "what": question.text}

    @bob.message
    def on_message(message, ctx):
        assert (message.sender, message.value) == ("ann", ["thanks"])
        told_by_bob.call_soon_threadsafe(told.set)

    told_by_bob = asyncio.get_running_loop()

    @ann.task(needs="test")
    async def test(task, ctx):
        answer = await ctx.ask("task:" + task.depends_on[0], "Which version?", timeout_s=30)
        await ctx.message(f"agent:{answer.agent_id}", ["thanks"])
        return answer.value

    async with ann, bob, client(hive) as boss:
        built = await boss.submit("build", needs=["build"])
        tested = await boss.submit("test", needs=["test"], depends_on=[built.id])
        assert await tested.result(30) == {"version": 2, "asked_by": "ann", "what": "Which version?"}
        await told.wait()
        (found,) = [view async for view in boss.conversations()]
        assert (found.state, found.agent_id, found.task_id) == ("answered", "bob", tested.id)
        assert found.resolution == f"was the last to run attempt 1 of task {built.id}"
        waits = [e for e in (await boss.events()).items if e.type == "agent.waiting"]
        assert [e.entity_id for e in waits] == ["ann", "ann"]
    assert await differences(hive) == []


@pytest.mark.usefixtures("services")
async def test_a_deadlock_is_refused_to_the_one_who_would_close_it(hive):
    ann, bob = agent(hive, "ann"), agent(hive, "bob")
    asked = asyncio.Event()

    @ann.task(needs="a")
    async def wait_for_bob(task, ctx):
        asking = asyncio.ensure_future(ctx.ask("agent:bob", "?", timeout_s=60))
        while not [view async for view in ctx.hive.conversations()]:
            await asyncio.sleep(0.01)
        asked.set()
        return (await asking).text

    @bob.task(needs="b")
    async def wait_for_ann(task, ctx):
        await asked.wait()
        try:
            await ctx.ask("agent:ann", "?", timeout_s=60)
        except RefusedError as error:
            (open_question,) = [view async for view in ctx.hive.conversations()]
            await ctx.hive.answer(open_question.conversation_id, "go on")
            return error.detail

    async with ann, bob, client(hive) as boss:
        one, other = await boss.submit("a", needs=["a"]), await boss.submit("b", needs=["b"])
        assert await other.result(30) == {"cycle": ["bob", "ann", "bob"]}
        assert await one.result(30) == "go on"
    assert await differences(hive) == []


@pytest.mark.usefixtures("services")
async def test_a_wait_does_not_cost_the_task_its_run_time(hive):
    ann, bob = agent(hive, "ann"), agent(hive, "bob")

    @bob.question
    async def slow(question, ctx):
        await asyncio.sleep(3)
        return "at last"

    @ann.task(needs="ask")
    async def patient(task, ctx):
        return (await ctx.ask("agent:bob", "?", timeout_s=30)).text

    async with ann, bob, client(hive) as boss:
        task = await boss.submit("wait", timeout_seconds=2, max_retries=0, needs=["ask"])
        assert await task.result(30) == "at last"


@pytest.mark.usefixtures("services")
async def test_what_nobody_answers_ends(hive):
    ann, bob = agent(hive, "ann"), agent(hive, "bob")
    async with ann, bob, client(hive) as boss:
        with pytest.raises(NoAnswer, match="expired"):
            await boss.ask("agent:bob", "?", timeout_s=0.5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await boss.ask("agent:bob", "?", id="mine")
        while (await boss.conversation("mine")).state != "withdrawn":
            await asyncio.sleep(0.01)
    assert await differences(hive) == []


async def test_an_answer_survives_restarts_of_the_service_and_of_the_asker(hive):
    answered = asyncio.Event()
    bob = agent(hive, "bob", slots=1)
    tries = []

    @bob.question
    async def on_question(question, ctx):
        answered.set()
        return "kept"

    def make_ann() -> Agent:
        ann = agent(hive, "ann", grace_s=0)

        @ann.task(needs="ask")
        async def ask(task, ctx):
            tries.append(task.attempt)
            answer = await ctx.ask("agent:bob", "?", timeout_s=60)
            if task.attempt == 1:
                await asyncio.Event().wait()  # the first attempt never makes use of it
            return answer.text

        return ann

    async with running(hive, "broker", "agent-gateway"), client(hive) as boss:
        async with running(hive, "conversation"), bob, make_ann():
            task = await boss.submit("ask", needs=["ask"])
            await answered.wait()
            while (await anext(boss.conversations())).state != "answered":
                await asyncio.sleep(0.01)
        async with running(hive, "conversation"), make_ann():
            assert await task.result(60) == "kept"
            assert tries == [1, 2]
            assert len([view async for view in boss.conversations()]) == 1
