"""A fleet that asks and answers at random while agents restart and the service is killed: no question is lost."""

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import quantiles

import asyncpg
import pytest

from hivewire import Agent, Client, NoAnswer, NotReachable
from hivewire.context import Context
from hivewire_conversation import fold

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

AGENTS = int(os.environ.get("FAULTS_AGENTS", "200"))
QUESTIONS = int(os.environ.get("FAULTS_QUESTIONS", "20000"))
PER_SECOND = 200
RESTARTS = 40
KILLS = 3
ENDED = {"answered", "expired", "withdrawn", "undeliverable"}


class Watched:
    """A service that is started again whenever it ends."""

    def __init__(self, hive, name: str) -> None:
        self._environment = os.environ | {
            "HIVEWIRE_HIVE": hive.name,
            "NATS_URL": hive.nats_url,
            "NATS_CREDS": str(hive.credentials("service")),
            "HIVEWIRE_POSTGRES_DSN": hive.postgres_dsn,
            "HIVEWIRE_KEYS_FILE": str(hive.keys_file),
            "HIVEWIRE_METRICS_PORT": "0",
            "HIVEWIRE_HTTP_PORT": "0",
            "HIVEWIRE_LOG_LEVEL": "error",
        }
        self._name = name
        self._process: asyncio.subprocess.Process
        self._stopping = False

    async def run(self) -> None:
        while not self._stopping:
            program = (sys.executable, "-m", "hivewire", "serve", self._name)
            self._process = await asyncio.create_subprocess_exec(*program, env=self._environment)
            await self._process.wait()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)

    def stop(self) -> None:
        self._stopping = True
        self._process.terminate()


@asynccontextmanager
async def watched(hive, name: str):
    service = Watched(hive, name)
    running = asyncio.create_task(service.run())
    await asyncio.sleep(0)
    try:
        yield service
    finally:
        service.stop()
        await running


class Fleet:
    """Agents that answer each other's questions, and how long these took to arrive."""

    def __init__(self, hive) -> None:
        self._hive = hive
        self.names = [f"agent-{n}" for n in range(AGENTS)]
        self.agents: dict[str, Agent] = {}
        self.asked_at: dict[str, float] = {}
        self.delays_ms: list[float] = []

    async def start(self, name: str) -> None:
        context = Context(
            nats_url=self._hive.nats_url,
            hive=self._hive.name,
            nats_creds=str(self._hive.credentials("agent", name)),
        )
        agent = Agent(name, context=context, grace_s=0)

        @agent.question
        async def answer(question, ctx):
            sent = self.asked_at.pop(question.text, None)
            if sent is not None:
                self.delays_ms.append((time.perf_counter() - sent) * 1000)
            return f"{question.text} by {name}"

        await agent.start()
        self.agents[name] = agent

    async def restart(self, name: str) -> None:
        await self.agents[name].stop()
        await self.start(name)

    def client(self, name: str) -> Client:
        return self.agents[name]._session._peers._context.hive


async def ask(fleet: Fleet, choice: random.Random, number: int) -> str:
    asker, asked = choice.sample(fleet.names, 2)
    text = f"question {number}"
    fleet.asked_at[text] = time.perf_counter()
    try:
        answer = await fleet.client(asker).ask(f"agent:{asked}", text, timeout_s=120)
    except (NoAnswer, NotReachable) as error:
        return type(error).__name__
    assert answer.text == f"{text} by {asked}"
    return "answered"


async def at_a_rate(fleet: Fleet, choice: random.Random, count: int) -> list[asyncio.Task]:
    """An open loop: questions begin at their time, whatever became of those before."""
    began, asking = time.monotonic(), []
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / PER_SECOND - time.monotonic()))
        asking.append(asyncio.create_task(ask(fleet, choice, number)))
    return asking


async def disturb(fleet: Fleet, choice: random.Random, service: Watched, seconds: float) -> None:
    acts = ["restart"] * RESTARTS + ["kill"] * KILLS
    choice.shuffle(acts)
    for act in acts:
        await asyncio.sleep(seconds / len(acts))
        if act == "kill":
            service.kill()
        else:
            await fleet.restart(choice.choice(fleet.names))


def note(text: str) -> None:
    sys.stderr.write(f"\n{text}")


async def check(hive) -> dict[str, int]:
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name})
    try:
        assert await fold.differences(connection) == []
        ends = await connection.fetch(
            "SELECT entity_id FROM event WHERE split_part(type, '.', 1) = 'conversation'"
            " AND split_part(type, '.', 2) = ANY($1) GROUP BY entity_id HAVING count(*) > 1",
            sorted(ENDED),
        )
        assert ends == []
        rows = await connection.fetch("SELECT state, count(*) AS questions FROM conversation GROUP BY state")
        return {row["state"]: row["questions"] for row in rows}
    finally:
        await connection.close()


@pytest.mark.parametrize("disturbed", [False, True], ids=["undisturbed", "disturbed"])
async def test_every_question_ends_once_and_every_answer_reaches_its_asker(hive, disturbed):
    choice = random.Random(7)
    count = QUESTIONS if disturbed else min(QUESTIONS, 30 * PER_SECOND)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(watched(hive, "agent-gateway"))
        service = await stack.enter_async_context(watched(hive, "conversation"))
        fleet = Fleet(hive)
        for name in fleet.names:
            await fleet.start(name)
        disturbing = asyncio.create_task(
            disturb(fleet, choice, service, 0.9 * count / PER_SECOND) if disturbed else asyncio.sleep(0)
        )
        asking = await at_a_rate(fleet, choice, count)
        await disturbing
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        await asyncio.gather(*(agent.stop() for agent in fleet.agents.values()))
        states = await check(hive)
    answered = outcomes.count("answered")
    centiles = quantiles(fleet.delays_ms, n=100)
    others = Counter(repr(outcome) for outcome in outcomes if outcome != "answered")
    note(f"{count} questions, {answered} answered; in the rows {states}; other outcomes {dict(others)}")
    note(f"from question to delivery: p50 {centiles[49]:.1f} ms, p99 {centiles[98]:.1f} ms")
    assert states.keys() <= ENDED
    assert states["answered"] >= answered
    if not disturbed:
        assert answered == count
