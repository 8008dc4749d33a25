"""Processor time of a hive, by what spends it."""

import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import psutil

from hivewire_service.bench.hive import BenchHive, of_family, part_of

AGENTS = "agents"
ALL = "together"
BENCH = "bench"
"""This process: the client, or the floor's stand-in for the broker."""


class Spending:
    """What each part of a hive has spent since this was made."""

    def __init__(self, hive: BenchHive) -> None:
        self._hive = hive
        self._begun = time.monotonic()
        self._before = _spent(hive)

    def us_per(self, count: int, background_percent: Mapping[str, float] | None = None) -> dict[str, float]:
        """Microseconds of processor time by part, for each of `count` things done; the sum is that of ALL.

        What the parts spend of a core anyway, as `percent` found it before, can be taken off.
        """
        took_s, background = time.monotonic() - self._begun, background_percent or {}
        return {
            part: round(1e6 * (seconds - took_s * background.get(part, 0.0) / 100) / count, 1)
            for part, seconds in self._since().items()
        }

    def percent(self) -> dict[str, float]:
        """The share of one core by part."""
        took_s = time.monotonic() - self._begun
        return {part: round(100 * seconds / took_s, 2) for part, seconds in self._since().items()}

    def _since(self) -> dict[str, float]:
        spent = {part: seconds - self._before[part] for part, seconds in sorted(_spent(self._hive).items())}
        return spent | {ALL: sum(spent.values())}


def _spent(hive: BenchHive) -> defaultdict[str, float]:
    spent: defaultdict[str, float] = defaultdict(float)
    for _, (part, seconds) in of_family(psutil.Process(hive.pid), lambda member: (part_of(member), _own_cpu_s(member))):
        spent[part] += seconds
    spent[AGENTS] += sum(cpu_s(psutil.Process(pid)) for pid in hive.fleet_pids)
    times = psutil.Process().cpu_times()
    spent[BENCH] = times.user + times.system
    return spent


def cpu_s(process: psutil.Process) -> float:
    """Processor time of a process and its descendants, those that ended included."""
    return sum(seconds for _, seconds in of_family(process, _own_cpu_s))


def _own_cpu_s(process: psutil.Process) -> float:
    """Processor time of a process, and of the children that it saw end."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def memory_by_part(hive: BenchHive) -> dict[str, float]:
    """Megabytes of proportional memory (PSS) by part of the hive; nothing where this system does not tell."""
    sums: defaultdict[str, float] = defaultdict(float)
    for _, (part, pss_kb) in of_family(psutil.Process(hive.pid), lambda member: (part_of(member), _pss_kb(member))):
        sums[part] += pss_kb / 1024
    return {part: round(mb, 1) for part, mb in sorted(sums.items())}


def memory_mb(process: psutil.Process) -> float | None:
    """Proportional memory (PSS) of a process and its descendants. None: this system does not tell."""
    found = of_family(process, _pss_kb)
    return round(sum(pss_kb for _, pss_kb in found) / 1024, 1) if found else None


def _pss_kb(process: psutil.Process) -> int:
    """Raises FileNotFoundError where this system does not tell, and where the process has ended."""
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1])
