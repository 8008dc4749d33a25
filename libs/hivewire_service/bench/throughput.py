"""How many tasks a second, when they are submitted all at once; and what part of the servers' own speed that is."""

import asyncio

import msgspec

from hivewire.client import Client
from hivewire.errors import HivewireError
from hivewire_service.bench import check, floor
from hivewire_service.bench.completions import Completions
from hivewire_service.bench.hive import BenchHive
from hivewire_service.bench.noop import CAPABILITY, PAYLOAD
from hivewire_service.bench.size import Size
from hivewire_service.bench.spending import Spending

TASKS = 50_000
TASKS_QUICK = 2_000
AGENTS = 2
SLOTS = 500
"""Of each agent: enough that the fleet never waits for the broker's next choice. With 100 it did, a tenth of the time."""


class Throughput(msgspec.Struct, frozen=True):
    """The figures of a run."""

    tasks: int
    agents: int
    tasks_per_s: float
    """From the first submit to the last completion, by its event."""
    accepted_per_s: float
    """From the first submit to the last reply to one."""
    floor_tasks_per_s: float
    """The same messages and rows, without any logic."""
    share_of_floor: float
    cpu_us: dict[str, float]
    """Processor time a task, by what spent it."""
    floor_cpu_us: dict[str, float]
    problems: list[str]


async def run(size: Size) -> Throughput:
    """Measure.

    Raises:
        HivewireError: the hive did not start, or did nothing.
    """
    tasks = size.tasks or (TASKS_QUICK if size.quick else TASKS)
    async with BenchHive.running(AGENTS, SLOTS) as hive:
        async with hive.client() as client:
            spending = Spending(hive)
            took_s, accepted_s = await do(client, tasks)
            cpu_us = spending.us_per(tasks)
        async with hive.postgres() as connection:
            problems = await check.problems(connection, tasks)
        floor_s, floor_cpu_us = await floor.measure(hive, tasks)
    return Throughput(
        tasks=tasks,
        agents=AGENTS,
        tasks_per_s=round(tasks / took_s, 1),
        accepted_per_s=round(tasks / accepted_s, 1),
        floor_tasks_per_s=round(tasks / floor_s, 1),
        share_of_floor=round(floor_s / took_s, 3),
        cpu_us=cpu_us,
        floor_cpu_us=floor_cpu_us,
        problems=problems,
    )


async def do(client: Client, tasks: int) -> tuple[float, float]:
    """Seconds until so many tasks were completed, and until all were accepted.

    Raises:
        HivewireError: one was refused, or none was completed.
    """
    loop = asyncio.get_running_loop()
    submits = [{"title": "no-op", "needs": [CAPABILITY], "payload": PAYLOAD} for _ in range(tasks)]
    async with Completions.heard(client, tasks) as completions:
        begun = loop.time()
        outcomes = await client.submit_many(submits)
        accepted = loop.time()
        for outcome in outcomes:
            if isinstance(outcome, HivewireError):
                raise outcome
        await completions.all()
    if not completions.at:
        raise HivewireError("no task was completed")
    return completions.last - begun, accepted - begun
