"""Figures as tables."""

from collections.abc import Mapping

import msgspec
from rich.console import Console
from rich.table import Table

from hivewire_service.bench.deciding import Deciding
from hivewire_service.bench.events import Events
from hivewire_service.bench.figures import Distribution
from hivewire_service.bench.idle import Idle
from hivewire_service.bench.latency import Latency
from hivewire_service.bench.machine import Machine
from hivewire_service.bench.questions import Questions
from hivewire_service.bench.throughput import Throughput
from hivewire_service.bench.ticks import Ticks

Result = Latency | Questions | Throughput | Events | Idle | Deciding | Ticks


def show(machine: Machine, results: Mapping[str, Result]) -> None:
    """Print a table for each benchmark."""
    console = Console(highlight=False)
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    console.print(
        f"{machine.cores} cores ({machine.processor}), {machine.memory_gb} GB, {machine.system}, "
        f"Python {machine.python}, {versions}"
    )
    for name, result in results.items():
        console.print(_spread(name, result) if isinstance(result, Latency | Questions) else _figures(name, result))
        for problem in result.problems:
            console.print(problem, style="red", markup=False)


def _spread(name: str, result: Latency | Questions) -> Table:
    if isinstance(result, Latency):
        title = f"{name}: {result.tasks} tasks at {result.tasks_per_s} a second"
    else:
        title = f"{name}: {result.questions} questions at {result.questions_per_s} a second"
    table = _table(title, "until, in ms", *Distribution.__struct_fields__)
    for what in result.__struct_fields__:
        spread = getattr(result, what)
        if isinstance(spread, Distribution):
            table.add_row(what, *(f"{value:.1f}" for value in msgspec.structs.astuple(spread)))
    return table


def _figures(name: str, result: Result) -> Table:
    table = _table(name, "figure", "value")
    for field, value in msgspec.structs.asdict(result).items():
        if field != "problems":
            table.add_row(field, f"{value:,}" if value is not None else "")
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name.removesuffix("_ms"), justify="right")
    return table
