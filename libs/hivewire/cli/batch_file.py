"""Submitting a file of tasks, one JSON object a line."""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from hivewire import exit_codes
from hivewire.cli import parse
from hivewire.cli.output import complain, print_json, say
from hivewire.errors import BadUsage, HivewireError, NotReachable

if TYPE_CHECKING:
    from hivewire.client import Client
    from hivewire.task_handle import TaskHandle


class Line(msgspec.Struct, omit_defaults=True):
    """What became of one line of the file."""

    line: int
    task_id: str | None = None
    created: bool | None = None
    status: str | None = None
    error: str | None = None


async def submit_file(hive: "Client", name: str, *, wait: bool, as_json: bool) -> int:
    """Submit every line that is a task; name those that are none. The exit code."""
    bodies = _numbered(parse.source(name if name == "-" else f"@{name}"))
    lines = {number: Line(number) for number, _ in bodies}
    tasks = dict(_decoded(bodies, lines))
    with progress(len(tasks), "submitting") as advance:
        outcomes = await hive.submit_many(list(tasks.values()), progress=advance)
    handles = {}
    for number, outcome in zip(tasks, outcomes, strict=True):
        if isinstance(outcome, HivewireError):
            lines[number].error = str(outcome)
        else:
            lines[number].task_id, lines[number].created = outcome.id, outcome.created
            handles[number] = outcome
    unreachable = next((outcome for outcome in outcomes if isinstance(outcome, NotReachable)), None)
    _complain(lines)
    if unreachable and not handles:
        raise unreachable
    if wait:
        await _wait(handles, lines)
    _summarise(lines, as_json=as_json)
    failed = any(line.error or line.status not in (None, "completed") for line in lines.values())
    return exit_codes.WORK_FAILED if failed else exit_codes.DONE


def _numbered(body: bytes) -> list[tuple[int, bytes]]:
    return [(number, line) for number, line in enumerate(body.splitlines(), 1) if line.strip()]


def _decoded(bodies: list[tuple[int, bytes]], lines: dict[int, Line]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines that are JSON objects."""
    from hivewire.submission import fields_of

    for number, body in bodies:
        try:
            yield number, fields_of(body)
        except BadUsage as error:
            lines[number].error = str(error)


def _complain(lines: dict[int, Line]) -> None:
    for line in lines.values():
        if line.error:
            complain(f"line {line.line}: {line.error}")


async def _wait(handles: "dict[int, TaskHandle]", lines: dict[int, Line]) -> None:
    with progress(len(handles), "waiting") as advance:

        async def ended(number: int, handle: "TaskHandle") -> None:
            lines[number].status = (await handle.ended()).status
            advance(1)

        await asyncio.gather(*(ended(number, handle) for number, handle in handles.items()))


def _summarise(lines: dict[int, Line], *, as_json: bool) -> None:
    if as_json:
        print_json(list(lines.values()))
        return
    taken = [line for line in lines.values() if line.task_id]
    counts = {
        "submitted": sum(line.created is True for line in taken),
        "known before": sum(line.created is False for line in taken),
        "refused": len(lines) - len(taken),
        "completed": sum(line.status == "completed" for line in taken),
        "ended otherwise": sum(line.status not in (None, "completed") for line in taken),
    }
    say(", ".join(f"{count} {what}" for what, count in counts.items() if count) or "no tasks in the file")


@contextlib.contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty() or not total:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
