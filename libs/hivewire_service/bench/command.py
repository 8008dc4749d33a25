"""`hivewire bench`."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence

import msgspec

from hivewire.errors import BadUsage
from hivewire_service.bench import deciding, events, idle, latency, questions, throughput, ticks
from hivewire_service.bench.machine import Machine
from hivewire_service.bench.report import Result, show
from hivewire_service.logging import configure

_BENCHMARKS: dict[str, Callable[[bool], Coroutine[None, None, Result]]] = {
    "latency": latency.run,
    "throughput": throughput.run,
    "events": events.run,
    "questions": questions.run,
    "idle": idle.run,
    "deciding": deciding.run,
    "ticks": ticks.run,
}

BENCHMARKS = tuple(_BENCHMARKS)
"""What can be measured."""


def run_bench(*, names: Sequence[str] = (), quick: bool = False, as_json: bool = False) -> int:
    """Run benchmarks, each on a hive of its own in a temporary directory, and print their figures.

    Args:
        names: some of BENCHMARKS; none: all of them.
        quick: shorter runs, whose figures are rough.
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
    machine = Machine.here()
    results: dict[str, Result] = {}
    for name in names or BENCHMARKS:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)  # noqa: T201 - progress
        results[name] = asyncio.run(_BENCHMARKS[name](quick))
    if as_json:
        print(msgspec.json.encode({"machine": machine, **results}).decode())  # noqa: T201 - the output
    else:
        show(machine, results)
    return 1 if any(result.problems for result in results.values()) else 0
