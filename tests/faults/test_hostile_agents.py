"""Twenty agents that misuse their credentials, ten thousand forged reports, and one that floods."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.integration.test_hostile_agents import Running, forge, probe, running

from e2e.up import Up
from faults import flooding
from hivewire import Agent, Client

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

COMMANDS_PER_SECOND = 300
FLOOD_FACTOR = 10
WINDOWS = 6
WINDOW_S = 10.0
TASKS_PER_SECOND = 30
FLOODER = "flooder"


@pytest.fixture(scope="module")
def world(stack, tmp_path_factory) -> Iterator[Running]:
    with running(stack, tmp_path_factory.mktemp("hostile") / "hive") as world:
        yield world


async def test_two_thousand_probes_of_twenty_agents_are_denied(world: Running):
    report = await probe(world, agents=20, probes_each=100)
    print(f"{report.probes} probes: {report.denied} denied by the server, {report.detours} detours, nothing injected")
    assert report.probes >= 1_950


async def test_ten_thousand_forged_reports_change_nothing_and_are_counted(world: Running):
    entries = await forge(world, 10_000)
    print(f"10000 forged reports, all refused and counted in {entries} entries")


async def test_a_broker_that_is_killed_amid_them_counts_each_once(world: Running):
    entries = await forge(world, 10_000, midway=world.restart_broker)
    print(f"10000 forged reports and a killed broker, all refused and counted once in {entries} entries")


@dataclass
class Paced:
    """A fleet that works at a steady pace, and how long each task took from submit to its result, in seconds."""

    client: Client
    calm_s: list[float] = field(default_factory=list)
    flooded_s: list[float] = field(default_factory=list)

    async def window(self, took_s: list[float]) -> None:
        begun_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(int(WINDOW_S * TASKS_PER_SECOND)):
                await asyncio.sleep(begun_s + number / TASKS_PER_SECOND - time.monotonic())
                group.create_task(self._one(took_s))

    async def _one(self, took_s: list[float]) -> None:
        begun_s = time.monotonic()
        task = await self.client.submit("work", needs=["work"])
        await task.result(60)
        took_s.append(time.monotonic() - begun_s)


def p99(took_s: list[float]) -> float:
    return sorted(took_s)[int(0.99 * len(took_s))]


async def test_one_that_floods_at_most_doubles_the_others_latency(tmp_path):
    """Calm and flooded windows take turns, so that whatever else the machine does falls into both."""
    (tmp_path / "hivewire.yaml").write_text(f"commands_per_second: {COMMANDS_PER_SECOND}\n")
    up = Up(tmp_path)
    up.start()
    try:
        credentials = tmp_path / "flooder.creds"
        up.run("token", "create", FLOODER, "--out", str(credentials))
        sent, paced = await _take_turns(up, credentials)
        async with up.database() as rows:
            kept = await rows.fetch(
                "SELECT kind, sum(count)::bigint AS times, count(*) AS entries FROM reject GROUP BY 1 ORDER BY 1"
            )
    finally:
        up.stop()
    calm_s, flooded_s = p99(paced.calm_s), p99(paced.flooded_s)
    print(
        f"{sent} reports in {WINDOWS * WINDOW_S:g} s at a quota of {COMMANDS_PER_SECOND}/s: the others' p99 "
        f"{calm_s * 1000:.1f} ms calm, {flooded_s * 1000:.1f} ms flooded, ratio {flooded_s / calm_s:.2f}; kept {kept}"
    )
    assert sent >= 0.9 * FLOOD_FACTOR * COMMANDS_PER_SECOND * WINDOWS * WINDOW_S
    assert sum(row["times"] for row in kept) == sent
    assert sum(row["entries"] for row in kept) <= 2 * 11 * 2 * WINDOWS * WINDOW_S
    assert flooded_s <= 2 * calm_s


async def _take_turns(up: Up, credentials: Path) -> tuple[int, Paced]:
    context = up.context
    command = [sys.executable, flooding.__file__, context.nats_url, str(credentials), context.hive, FLOODER]
    flooder = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert flooder.stdin is not None
    assert flooder.stdout is not None

    async def flood(per_second: float) -> int:
        flooder.stdin.write(f"{per_second}\n".encode())
        return int(await flooder.stdout.readline())

    async with AsyncExitStack() as stack:
        paced = Paced(await stack.enter_async_context(up.client()))
        for number in range(4):
            agent = Agent(f"worker-{number}", can=["work"], slots=16, context=context)
            agent.task(_work)
            await stack.enter_async_context(agent)
        await paced.window([])  # everything is warm
        sent = 0
        for _ in range(WINDOWS):
            await paced.window(paced.calm_s)
            await flood(FLOOD_FACTOR * COMMANDS_PER_SECOND)
            await paced.window(paced.flooded_s)
            sent += await flood(0)
            await _until_decided(up, sent)
        flooder.stdin.close()
        await flooder.wait()
    return sent, paced


async def _until_decided(up: Up, sent: int) -> None:
    async with up.database() as rows, asyncio.timeout(60):
        while (await rows.fetchval("SELECT coalesce(sum(count), 0) FROM reject")) < sent:
            await asyncio.sleep(0.1)


async def _work(task, context) -> None:
    """Nothing to do."""
