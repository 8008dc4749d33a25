"""Whether what a submit and an assignment cost depends on how much waits, and what that takes of memory.

Every agent has its only slot taken, so that all other tasks wait in line. The cost of an assignment is measured by
letting agents complete what they hold: each then gets the first of the line.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from hivewire.client import Client
from hivewire.errors import HivewireError
from hivewire.ids import new_id
from hivewire.subjects import BROKER
from hivewire_service.bench.crowd import Crowd
from hivewire_service.bench.hive import BenchHive
from hivewire_service.bench.noop import CAPABILITY, PAYLOAD
from hivewire_service.bench.size import Size
from hivewire_service.bench.spending import Spending, memory_mb

TASKS, AGENTS = 1_000_000, 10_000
TASKS_QUICK, AGENTS_QUICK = 20_000, 500
FEW = 10_000
"""With so many waiting tasks the costs are measured first."""
MEASURED = 5_000
ROUNDS = 3
LOADED_AT_ONCE = 5_000
SETTLING_S = 10.0
LONG_S = 24 * 3600.0
"""Of this time the costs of heartbeats and of the servers' housekeeping are taken, which run beside all that is measured."""


class Costs(msgspec.Struct, frozen=True):
    """Microseconds of processor time, of broker, Postgres and nats-server together and by what spent it, without what is
    spent on heartbeats."""

    submit_us: float
    assignment_us: float
    submit_parts_us: dict[str, float]
    assignment_parts_us: dict[str, float]


class Scale(msgspec.Struct, frozen=True):
    """The figures of a run."""

    agents: int
    tasks: int
    with_few: Costs
    with_all: Costs
    submit_growth: float
    assignment_growth: float
    submitted_per_s: float
    """While the tasks were loaded, a thousand a command."""
    broker_memory_mb: float | None
    restart_s: float
    """From the killing of the broker to its successor's first reply, all tasks loaded."""
    problems: list[str]


async def run(size: Size) -> Scale:
    """Measure.

    Raises:
        HivewireError: the hive did not start, or stood still.
    """
    tasks = size.tasks or (TASKS_QUICK if size.quick else TASKS)
    agents = size.agents or (AGENTS_QUICK if size.quick else AGENTS)
    few, measured = min(FEW, tasks // 2), min(MEASURED, agents)
    loop = asyncio.get_running_loop()
    async with BenchHive.running() as hive, hive.client() as client, Crowd.running(hive, agents) as crowd:
        await _submit(client, agents)
        await crowd.until(lambda: crowd.held == agents)
        await _submit(client, few)
        with_few = await _costs(hive, client, crowd, measured)
        begun = loop.time()
        await _submit(client, tasks - few)
        submitted_per_s = (tasks - few) / (loop.time() - begun)
        with_all = await _costs(hive, client, crowd, measured)
        memory = memory_mb(hive.process_of(BROKER))
        restart_s = await _restart(hive, client)
        async with hive.postgres() as connection:
            problems = await _problems(connection, agents + tasks + 2 * ROUNDS * measured + 1, 2 * ROUNDS * measured)
    return Scale(
        agents=agents,
        tasks=tasks,
        with_few=with_few,
        with_all=with_all,
        submit_growth=round(with_all.submit_us / with_few.submit_us, 2),
        assignment_growth=round(with_all.assignment_us / with_few.assignment_us, 2),
        submitted_per_s=round(submitted_per_s, 1),
        broker_memory_mb=memory,
        restart_s=round(restart_s, 1),
        problems=problems,
    )


def task() -> dict[str, Any]:
    """One that the agents can do, and hold as long as the benchmark takes without saying that they began."""
    times = {"timeout_s": LONG_S, "start_timeout_s": LONG_S}
    return {"id": new_id(), "title": "no-op", "needs": [CAPABILITY], "payload": PAYLOAD, **times}


async def _submit(client: Client, count: int) -> None:
    for first in range(0, count, LOADED_AT_ONCE):
        outcomes = await client.submit_many([task() for _ in range(min(LOADED_AT_ONCE, count - first))])
        for outcome in outcomes:
            if isinstance(outcome, HivewireError):
                raise outcome


async def _costs(hive: BenchHive, client: Client, crowd: Crowd, count: int) -> Costs:
    """The middle of several rounds, each of which leaves as many tasks waiting as there were before."""
    async with hive.postgres() as connection:
        with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CHECKPOINT")
    spending = Spending(hive)
    await asyncio.sleep(SETTLING_S)
    background = spending.percent()
    rounds = [await _round(hive, client, crowd, count, background) for _ in range(ROUNDS)]
    submit, assignment = map(_middle, zip(*rounds, strict=True))
    return Costs(round(sum(submit.values()), 1), round(sum(assignment.values()), 1), submit, assignment)


async def _round(
    hive: BenchHive, client: Client, crowd: Crowd, count: int, background: dict[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Microseconds of a submit and of an assignment, by part."""
    spending = Spending(hive)
    await _submit(client, count)
    submit = _of_hive(spending.us_per(count, background))
    spending = Spending(hive)
    wanted = crowd.dispatches + count
    await crowd.complete(count)
    await crowd.until(lambda: crowd.dispatches >= wanted)
    return submit, _of_hive(spending.us_per(count, background))


def _middle(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    return sorted(rounds, key=lambda parts: sum(parts.values()))[len(rounds) // 2]


def _of_hive(us: dict[str, float]) -> dict[str, float]:
    return {part: us[part] for part in (BROKER, "postgres", "nats-server")}


async def _restart(hive: BenchHive, client: Client) -> float:
    """Seconds until a broker that was killed replies again, as the successor that its supervisor starts."""
    loop = asyncio.get_running_loop()
    os.kill(hive.process_of(BROKER).pid, signal.SIGKILL)
    begun = loop.time()
    await client.connection.command(BROKER, "submit", _submitted(), msgspec.Raw, timeout_s=None)
    return loop.time() - begun


def _submitted() -> dict[str, Any]:
    return {"id": new_id(), "title": "after the restart", "required_capabilities": [CAPABILITY], "payload": PAYLOAD}


async def _problems(connection: asyncpg.Connection, tasks: int, completed: int) -> list[str]:
    counts = await connection.fetchrow(
        """
        SELECT count(*) AS tasks, count(*) FILTER (WHERE status = 'completed') AS "completed tasks",
               (SELECT count(*) FROM event WHERE type = 'agent.crashed') AS "lost agents"
        FROM task
        """
    )
    assert counts is not None
    wanted = {"tasks": tasks, "completed tasks": completed, "lost agents": 0}
    return [f"{counts[what]} {what}, should be {count}" for what, count in wanted.items() if counts[what] != count]
