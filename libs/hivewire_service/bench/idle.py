"""What a hive costs that has nothing to do."""

import asyncio
import time

import msgspec
import psutil

from hivewire_service.bench.hive import BenchHive, family
from hivewire_service.bench.size import Size
from hivewire_service.bench.spending import cpu_s, memory_mb

SECONDS = 60
SECONDS_QUICK = 10


class Idle(msgspec.Struct, frozen=True):
    """The figures of a run."""

    seconds: int
    processes: int
    cpu_percent: float
    """Of one core, all processes together."""
    memory_mb: float | None
    """Proportional memory (PSS), all processes together. None: this system does not tell."""
    problems: list[str]


async def run(size: Size) -> Idle:
    """Measure.

    Raises:
        HivewireError: the hive did not start.
    """
    seconds = SECONDS_QUICK if size.quick else SECONDS
    async with BenchHive.running() as hive:
        up = psutil.Process(hive.pid)
        began, cpu_began_s = time.monotonic(), cpu_s(up)
        await asyncio.sleep(seconds)
        share = (cpu_s(up) - cpu_began_s) / (time.monotonic() - began)
        return Idle(
            seconds=seconds,
            processes=len(family(up)),
            cpu_percent=round(100 * share, 2),
            memory_mb=memory_mb(up),
            problems=[],
        )
