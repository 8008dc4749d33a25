"""`hivewire bench`."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence

import msgspec

from hivewire.errors import BadUsage
from hivewire_service.bench import (
    deciding,
    events,
    heartbeats,
    idle,
    latency,
    questions,
    recovery,
    scale,
    soak,
    throughput,
    ticks,
)
from hivewire_service.bench.machine import Machine
from hivewire_service.bench.report import Result, show
from hivewire_service.bench.size import Size
from hivewire_service.logging import configure

_BENCHMARKS: dict[str, Callable[[Size], Coroutine[None, None, Result]]] = {
    "latency": latency.run,
    "load": latency.run_high,
    "throughput": throughput.run,
    "events": events.run,
    "questions": questions.run,
    "idle": idle.run,
    "deciding": deciding.run,
    "ticks": ticks.run,
    "heartbeats": heartbeats.run,
    "recovery": recovery.run,
    "scale": scale.run,
    "soak": soak.run,
}
LONG = frozenset({"scale", "soak"})
"""Run only when they are named: they take a quarter of an hour and more."""

BENCHMARKS = tuple(_BENCHMARKS)
"""What can be measured."""


def run_bench(
    *,
    names: Sequence[str] = (),
    quick: bool = False,
    tasks: int | None = None,
    agents: int | None = None,
    minutes: float | None = None,
    as_json: bool = False,
) -> int:
    """Run benchmarks, each on a hive of its own in a temporary directory, and print their figures.

    Args:
        names: some of BENCHMARKS; none: all but the LONG ones.
        quick: shorter runs, whose figures are rough.
        tasks: how many, where that makes sense.
        agents: how many, where that makes sense.
        minutes: how long to go on, where that makes sense.
        as_json: print one JSON object instead of tables.

    Returns:
        0, or 1 if something was lost or done twice.

    Raises:
        BadUsage: a name is unknown.
        HivewireError: the hive did not start.
    """
    unknown = [name for name in names if name not in _BENCHMARKS]
    if unknown:
        raise BadUsage(f"there is no benchmark {unknown[0]!r}: there are {', '.join(BENCHMARKS)}")
    configure(level="error")
    size = Size(quick=quick, tasks=tasks, agents=agents, minutes=minutes)
    machine = Machine.here()
    results: dict[str, Result] = {}
    for name in names or (name for name in BENCHMARKS if name not in LONG):
        print(f"measuring {name} ...", file=sys.stderr, flush=True)  # noqa: T201 - progress
        results[name] = asyncio.run(_BENCHMARKS[name](size))
    if as_json:
        print(msgspec.json.encode({"machine": machine, **results}).decode())  # noqa: T201 - the output
    else:
        show(machine, results)
    return 1 if any(result.problems for result in results.values()) else 0
