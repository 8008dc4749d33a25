"""What the heartbeats of many agents cost that have nothing to do."""

import asyncio

import msgspec

from hivewire import limits
from hivewire_service.bench.crowd import Crowd
from hivewire_service.bench.hive import BenchHive
from hivewire_service.bench.size import Size
from hivewire_service.bench.spending import Spending

AGENTS = 10_000
AGENTS_QUICK = 500
SECONDS = 60
SECONDS_QUICK = 10


class Heartbeats(msgspec.Struct, frozen=True):
    """The figures of a run."""

    agents: int
    interval_s: float
    seconds: int
    cpu_percent: dict[str, float]
    """Of one core, by what spent it."""
    problems: list[str]


async def run(size: Size) -> Heartbeats:
    """Measure.

    Raises:
        HivewireError: the hive did not start, or did not register the agents.
    """
    agents = size.agents or (AGENTS_QUICK if size.quick else AGENTS)
    seconds = SECONDS_QUICK if size.quick else SECONDS
    async with BenchHive.running() as hive, Crowd.running(hive, agents):
        await asyncio.sleep(limits.BEAT_INTERVAL_S)
        spending = Spending(hive)
        await asyncio.sleep(seconds)
        cpu_percent = spending.percent()
        async with hive.postgres() as connection:
            present = await connection.fetchval("SELECT count(*) FROM agent WHERE state = 'present'")
            lost = await connection.fetchval("SELECT count(*) FROM event WHERE type = 'agent.crashed'")
    problems = [] if (present, lost) == (agents, 0) else [f"{present} of {agents} agents are present, {lost} were lost"]
    return Heartbeats(agents, limits.BEAT_INTERVAL_S, seconds, cpu_percent, problems)
