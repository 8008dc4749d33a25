"""Processor time of a hive, by what spends it."""

from collections import defaultdict
from pathlib import Path

import psutil

from hivewire_service.bench.hive import BenchHive

_SERVERS = ("nats-server", "postgres")
SUPERVISOR = "up"
AGENTS = "agents"
ALL = "together"
BENCH = "bench"
"""This process: the client, or the floor's stand-in for the broker."""


class Spending:
    """What each part of a hive has spent since this was made."""

    def __init__(self, hive: BenchHive) -> None:
        self._hive = hive
        self._before = _spent(hive)

    def us_per(self, count: int) -> dict[str, float]:
        """Microseconds of processor time by part, for each of `count` things done; the sum is that of ALL."""
        spent = {part: seconds - self._before[part] for part, seconds in _spent(self._hive).items()}
        spent[ALL] = sum(spent.values())
        return {part: round(1e6 * seconds / count, 1) for part, seconds in sorted(spent.items())}


def _spent(hive: BenchHive) -> defaultdict[str, float]:
    spent: defaultdict[str, float] = defaultdict(float)
    for process in family(psutil.Process(hive.pid)):
        spent[part_of(process)] += _own_cpu_s(process)
    for pid in hive.fleet_pids:
        for process in family(psutil.Process(pid)):
            spent[AGENTS] += _own_cpu_s(process)
    times = psutil.Process().cpu_times()
    spent[BENCH] = times.user + times.system
    return spent


def part_of(process: psutil.Process) -> str:
    """Which part of a hive a process is: a server, a service, or the supervisor."""
    name = process.name()
    if name in _SERVERS:
        return name
    words = process.cmdline()
    return words[words.index("serve") + 1] if "serve" in words else SUPERVISOR


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and its descendants."""
    return [process, *process.children(recursive=True)]


def cpu_s(process: psutil.Process) -> float:
    """Processor time of a process and its descendants, those that ended included."""
    return sum(map(_own_cpu_s, family(process)))


def _own_cpu_s(process: psutil.Process) -> float:
    """Processor time of a process, and of the children that it saw end."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def memory_mb(process: psutil.Process) -> float | None:
    """Proportional memory (PSS) of a process and its descendants. None: this system does not tell."""
    files = [Path(f"/proc/{member.pid}/smaps_rollup") for member in family(process)]
    if not files[0].exists():
        return None
    return round(sum(map(_pss_kb, files)) / 1024, 1)


def _pss_kb(file: Path) -> int:
    line = next(line for line in file.read_text().splitlines() if line.startswith("Pss:"))
    return int(line.split()[1])
