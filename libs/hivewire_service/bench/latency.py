"""From submit to completed, at a steady rate."""

import asyncio
import time

import asyncpg
import msgspec

from hivewire.errors import HivewireError
from hivewire_service.bench import check
from hivewire_service.bench.completions import Completions
from hivewire_service.bench.figures import Distribution
from hivewire_service.bench.hive import BenchHive
from hivewire_service.bench.size import Size
from hivewire_service.bench.spending import Spending
from hivewire_service.bench.steadily import submit_steadily

RATE = 100
RATE_HIGH = 1_000
"""Tasks a second."""
SECONDS = 30
SECONDS_QUICK = 5
WARM_UP_S = 2
"""At the same rate before. These tasks are checked, and not counted."""
AGENTS = 2
SLOTS = 50


class Latency(msgspec.Struct, frozen=True):
    """The figures of a run."""

    tasks: int
    tasks_per_s: int
    agents: int
    completed: Distribution
    """Until the event of the completion was received, which is published after its commit."""
    recorded: Distribution
    """Until the time that Postgres has as the task's end, taken right before that commit."""
    accepted: Distribution
    """Until the reply to the submit, which is sent after its commit."""
    cpu_us: dict[str, float]
    """Processor time a task, by what spent it."""
    problems: list[str]


async def run_high(size: Size) -> Latency:
    """Measure at the higher rate. Raises what `run` raises."""
    return await run(size, RATE_HIGH)


async def run(size: Size, tasks_per_s: int = RATE) -> Latency:
    """Measure.

    Raises:
        HivewireError: the hive did not start, or did nothing.
    """
    seconds = SECONDS_QUICK if size.quick else SECONDS
    warm_up, tasks = tasks_per_s * WARM_UP_S, tasks_per_s * (WARM_UP_S + seconds)
    async with BenchHive.running(AGENTS, SLOTS) as hive, hive.client() as client:
        async with Completions.heard(client, tasks) as completions:
            spending = Spending(hive)
            sent = (await submit_steadily(client, tasks, tasks_per_s))[warm_up:]
            await completions.all()
            cpu_us = spending.us_per(tasks)
        async with hive.postgres() as connection:
            ended = await _ended(connection)
            problems = await check.problems(connection, tasks)
    done = [each for each in sent if each.task_id in completions.at and each.task_id in ended]
    if not done:
        raise HivewireError("no task was completed: " + "; ".join(problems))
    return Latency(
        tasks=len(sent),
        tasks_per_s=tasks_per_s,
        agents=AGENTS,
        completed=Distribution.of([completions.at[each.task_id] - each.due for each in done]),
        recorded=Distribution.of([ended[each.task_id] - each.due for each in done]),
        accepted=Distribution.of([each.accepted - each.due for each in done]),
        cpu_us=cpu_us,
        problems=problems,
    )


async def _ended(connection: asyncpg.Connection) -> dict[str, float]:
    """When each task ended, in the event loop's time."""
    rows = await connection.fetch("SELECT task_id, ended_at FROM task WHERE status = 'completed'")
    behind = time.time() - asyncio.get_running_loop().time()
    return {row["task_id"]: row["ended_at"].timestamp() - behind for row in rows}
