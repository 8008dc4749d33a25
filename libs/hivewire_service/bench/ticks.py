"""How many ticks a second a simulation of 1,000 agents and 10,000 edges does, in memory and persisted, and whether a
tick gets dearer as the history grows."""

import asyncio
import sys
import time

import msgspec
import psutil

from hivewire.client import Client
from hivewire.errors import HivewireError
from hivewire_service.bench.hive import BenchHive
from hivewire_service.bench.rehearsal import ACTIVE, TICKS_COMPARED, rehearsal
from hivewire_service.bench.size import Size
from hivewire_service.bench.spending import cpu_s

TICKS = 10_000
TICKS_QUICK = 2_000
IN_MEMORY = "hivewire_tick_engine.bench"
"""Run as a program of its own: the chassis does not know the services."""
SIMULATION = "bench"


class Ticks(msgspec.Struct, frozen=True):
    """The figures of a run. Growth: the processor time of the last 1,000 ticks over that of the first 1,000."""

    ticks: int
    messages: int
    in_memory_ticks_per_s: float
    in_memory_messages_per_s: float
    in_memory_growth: float
    persisted_ticks_per_s: float
    persisted_messages_per_s: float
    persisted_growth: float
    problems: list[str]


class Course(msgspec.Struct):
    """What each thousand ticks took: seconds, and seconds of processor time."""

    seconds: list[float] = []
    cpu_s: list[float] = []

    @property
    def ticks_per_s(self) -> float:
        return round(len(self.seconds) * TICKS_COMPARED / sum(self.seconds), 1)

    @property
    def growth(self) -> float:
        return round(self.cpu_s[-1] / self.cpu_s[0], 3)


async def run(size: Size) -> Ticks:
    """Measure.

    Raises:
        HivewireError: the hive did not start, or a simulation could not be run.
    """
    ticks = TICKS_QUICK if size.quick else TICKS
    in_memory = await _in_memory(ticks)
    async with BenchHive.running() as hive, hive.client() as client:
        persisted = await _persisted(client, psutil.Process(hive.pid), ticks)
        problems = await _problems(client, ticks)
    return Ticks(
        ticks=ticks,
        messages=ticks * ACTIVE,
        in_memory_ticks_per_s=in_memory.ticks_per_s,
        in_memory_messages_per_s=in_memory.ticks_per_s * ACTIVE,
        in_memory_growth=in_memory.growth,
        persisted_ticks_per_s=persisted.ticks_per_s,
        persisted_messages_per_s=persisted.ticks_per_s * ACTIVE,
        persisted_growth=persisted.growth,
        problems=problems,
    )


async def _in_memory(ticks: int) -> Course:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", IN_MEMORY, str(ticks), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise HivewireError(f"the simulation in memory ended with status {process.returncode}")
    return msgspec.json.decode(said, type=Course)


async def _persisted(client: Client, hive: psutil.Process, ticks: int) -> Course:
    """Ticks of a real hive; the processor time is that of all its processes."""
    await client.simulations.create(rehearsal(), simulation_id=SIMULATION)
    await client.simulations.start(SIMULATION)
    course = Course()
    for _ in range(ticks // TICKS_COMPARED):
        begun, cpu_begun = time.perf_counter(), cpu_s(hive)
        await client.simulations.tick(SIMULATION, TICKS_COMPARED)
        course.seconds.append(time.perf_counter() - begun)
        course.cpu_s.append(cpu_s(hive) - cpu_begun)
    return course


async def _problems(client: Client, ticks: int) -> list[str]:
    """What a replay of the whole run finds."""
    replayed = await client.simulations.replay(SIMULATION)
    if replayed.difference is not None:
        return [f"tick {replayed.difference.tick} differs when it is replayed"]
    return [] if replayed.ticks == ticks else [f"{replayed.ticks} ticks are recorded, {ticks} were done"]
