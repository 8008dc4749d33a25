"""What a hive costs that has nothing to do."""

import asyncio
import time
from pathlib import Path

import msgspec
import psutil

from hivewire_service.bench.hive import BenchHive

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


async def run(quick: bool) -> Idle:
    """Measure.

    Raises:
        HivewireError: the hive did not start.
    """
    seconds = SECONDS_QUICK if quick else SECONDS
    async with BenchHive.running() as hive:
        up = psutil.Process(hive.pid)
        began, cpu_began_s = time.monotonic(), cpu_s(up)
        await asyncio.sleep(seconds)
        share = (cpu_s(up) - cpu_began_s) / (time.monotonic() - began)
        return Idle(
            seconds=seconds,
            processes=len(_family(up)),
            cpu_percent=round(100 * share, 2),
            memory_mb=_memory_mb(up),
            problems=[],
        )


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def cpu_s(process: psutil.Process) -> float:
    """Processor time of a process and its descendants, those that ended included."""
    total = 0.0
    for member in _family(process):
        times = member.cpu_times()
        total += times.user + times.system
    ended = process.cpu_times()
    return total + ended.children_user + ended.children_system


def _memory_mb(process: psutil.Process) -> float | None:
    files = [Path(f"/proc/{member.pid}/smaps_rollup") for member in _family(process)]
    if not files[0].exists():
        return None
    return round(sum(map(_pss_kb, files)) / 1024, 1)


def _pss_kb(file: Path) -> int:
    line = next(line for line in file.read_text().splitlines() if line.startswith("Pss:"))
    return int(line.split()[1])
