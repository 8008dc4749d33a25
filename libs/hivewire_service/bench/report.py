"""Figures as tables."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec
from rich.console import Console
from rich.table import Table

from hivewire_service.bench.figures import Distribution
from hivewire_service.bench.latency import Latency
from hivewire_service.bench.machine import Machine
from hivewire_service.bench.questions import Questions


class Result(Protocol):
    """What a benchmark returns: a struct of figures."""

    @property
    def problems(self) -> list[str]:
        """What was lost or done twice: the figures are worth nothing then."""


def show(machine: Machine, results: Mapping[str, Result]) -> None:
    """Print a table for each benchmark."""
    console = Console(highlight=False)
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    console.print(
        f"{machine.cores} cores ({machine.processor}), {machine.memory_gb} GB, {machine.system}, "
        f"Python {machine.python}, {versions}"
    )
    for name, result in results.items():
        if isinstance(result, Latency):
            console.print(_spread(f"{name}: {result.tasks} tasks at {result.tasks_per_s} a second", result))
            console.print(_figures(f"{name}: processor time a task, in us", dict(result.cpu_us)))
        elif isinstance(result, Questions):
            console.print(_spread(f"{name}: {result.questions} questions at {result.questions_per_s} a second", result))
        else:
            console.print(_figures(name, msgspec.to_builtins(result)))
        for problem in result.problems:
            console.print(problem, style="red", markup=False)


def _spread(title: str, result: Latency | Questions) -> Table:
    table = _table(title, "until, in ms", *Distribution.__struct_fields__)
    for what in result.__struct_fields__:
        spread = getattr(result, what)
        if isinstance(spread, Distribution):
            table.add_row(what, *(f"{value:.1f}" for value in msgspec.structs.astuple(spread)))
    return table


def _figures(name: str, figures: dict[str, Any]) -> Table:
    table = _table(name, "figure", "value")
    for figure, value in _flat({what: value for what, value in figures.items() if what != "problems"}):
        table.add_row(figure, f"{value:,}" if value is not None else "")
    return table


def _flat(figures: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Figures within figures, each under its whole name."""
    for name, value in figures.items():
        parts = dict(enumerate(value, start=1)) if isinstance(value, list) else value
        if isinstance(parts, dict):
            yield from ((f"{name}: {part}", inner) for part, inner in _flat({str(key): parts[key] for key in parts}))
        else:
            yield name, value


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name.removesuffix("_ms"), justify="right")
    return table
