"""`hivewire top`: what the hive does, on one screen."""

import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from hivewire.cli.output import Column, ago, clean, collected, cut, duration, layout, print_json, say, width
from hivewire.cli.reach import HIVE, AsJson, reaches
from hivewire.cli.render import event_line
from hivewire.errors import NotReachable
from hivewire.views import AgentView, EventView, QueueView, Stats, TaskView

if TYPE_CHECKING:
    from hivewire.client import Client

LINES_MAX = 100
"""Agents, tasks and events that are fetched for one screen."""
REST_FACTOR = 10
"""A hive that answers slowly is asked less often: it is left alone for so many times as long."""
PATIENCE_S = 2.0
"""A hive that takes longer than this to answer is said not to."""
UNSUCCESSFUL = ("failed", "dead_lettered", "cancelled")
_AGENTS = (
    Column("AGENT"),
    Column("STATE"),
    Column("BUSY", right=True),
    Column("SLOTS", right=True),
    Column("CAN", fill=True),
)
_TASKS = (
    Column("TASK"),
    Column("STATUS"),
    Column("PRIO", right=True),
    Column("CREATED", spare=1),
    Column("TITLE", fill=True),
)


class Snapshot(msgspec.Struct, kw_only=True):
    """What the hive does at a moment. Rates are tasks a second since the snapshot before; None where there is none."""

    hive: str
    taken_at: datetime
    stats: Stats
    queue: QueueView
    agents: list[AgentView]
    events: list[EventView]
    completed_per_second: float | None = None
    unsuccessful_per_second: float | None = None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("top", rich_help_panel=HIVE)(reaches(top))


async def top(
    hive: "Client",
    *,
    every: Annotated[float, typer.Option(metavar="SECONDS", min=0.2, help="How often to look.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and print it, for scripts.")] = False,
    as_json: AsJson = False,
) -> None:
    """Watch queue, agents, rates and the latest events, until Ctrl-C."""
    snapshot = await look(hive, None)
    if as_json:
        print_json(snapshot)
    elif once or not sys.stdout.isatty():
        for line in frame(snapshot, width(), LINES_MAX):
            say(line)
    else:
        await _watch(hive, snapshot, every)


async def look(hive: "Client", before: Snapshot | None) -> Snapshot:
    """How things stand, and how fast they went since `before`."""
    from hivewire import reads

    stats, queue, agents, events = await asyncio.gather(
        hive.stats(),
        hive.queue(LINES_MAX),
        collected(hive.agents(LINES_MAX)),
        hive.events(reads.ListEvents(limit=LINES_MAX, newest_first=True)),
    )
    snapshot = Snapshot(
        hive=hive.connection.subjects.hive,
        taken_at=datetime.now(UTC),
        stats=stats,
        queue=queue,
        agents=sorted(agents, key=lambda agent: (agent.state != "present", -agent.busy_slots, agent.agent_id)),
        events=events.items,
    )
    if before is not None:
        seconds = max(0.001, (snapshot.taken_at - before.taken_at).total_seconds())
        snapshot.completed_per_second = max(0, _ended(stats, "completed") - _ended(before.stats, "completed")) / seconds
        unsuccessful = _ended(stats, *UNSUCCESSFUL) - _ended(before.stats, *UNSUCCESSFUL)
        snapshot.unsuccessful_per_second = max(0, unsuccessful) / seconds
    return snapshot


def _ended(stats: Stats, *statuses: str) -> int:
    return sum(stats.tasks.get(status, 0) for status in statuses)


async def _watch(hive: "Client", snapshot: Snapshot, every_s: float) -> None:
    """Draw again and again, on a screen that is gone afterwards. While the hive does not answer, the last screen stays,
    and says so."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopped = asyncio.create_task(stop.wait())
    looking: asyncio.Task[Snapshot] | None = None
    trouble, pause_s = "", every_s

    def drawn() -> Text:
        lines = frame(snapshot, console.width, console.height, trouble)
        return Text.from_ansi("\n".join(lines), no_wrap=True, overflow="crop")

    with Live(drawn(), console=console, screen=True, auto_refresh=False) as screen:
        while not stop.is_set():
            screen.update(drawn(), refresh=True)
            await asyncio.wait((stopped,), timeout=pause_s)
            begun_s = time.monotonic()
            looking = looking or asyncio.create_task(look(hive, snapshot))
            await asyncio.wait((stopped, looking), timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
            snapshot, trouble = _seen(looking, snapshot)
            pause_s = every_s if trouble else max(every_s, REST_FACTOR * (time.monotonic() - begun_s))
            looking = None if looking.done() else looking
    if looking is not None:
        looking.cancel()


def _seen(looking: asyncio.Task[Snapshot], before: Snapshot) -> tuple[Snapshot, str]:
    """What is to be shown, and what is wrong with it."""
    try:
        return looking.result(), ""
    except asyncio.InvalidStateError:
        return before, "the hive does not answer: this is how it was"
    except NotReachable as error:
        return before, f"{error}: this is how it was"


def frame(snapshot: Snapshot, columns: int | None, rows: int, trouble: str = "") -> list[str]:
    """The screen's lines, at most `rows` of at most `columns` places; None: as wide as they want to be. `trouble`: what is
    wrong with them."""
    head = [*_head(snapshot), *([f"NOW     {trouble}"] if trouble else []), ""]
    agents = layout(_AGENTS, [_agent(agent) for agent in snapshot.agents], columns)
    tasks = layout(_TASKS, [_task(task) for task in snapshot.queue.items], columns)
    events = ["EVENTS", *(event_line(event, with_entity=True) for event in snapshot.events)]
    sections = [section for section in (agents, tasks, events) if len(section) > 1]
    lines = head
    room = rows - len(head)
    for number, section in enumerate(sections):
        share = room // (len(sections) - number)  # what a short section leaves is for those after it
        shown = _at_most(section, max(2, share - 1))
        lines = [*lines, *shown, ""]
        room -= len(shown) + 1
    lines = lines[:-1] if sections else [*lines, "Nothing has happened yet."]
    return [line if columns is None or "\x1b" in line else cut(line, columns) for line in lines[:rows]]


def _at_most(section: list[str], lines: int) -> list[str]:
    """A title with as many lines under it as there is room for."""
    if len(section) <= lines:
        return section
    return [*section[: lines - 1], f"… {len(section) - lines + 1} more"]


def _head(snapshot: Snapshot) -> Sequence[str]:
    tasks, queue = snapshot.stats.tasks, snapshot.queue
    busy = sum(agent.busy_slots for agent in snapshot.agents if agent.state == "present")
    slots = sum(agent.slots for agent in snapshot.agents if agent.state == "present")
    mean_s = snapshot.stats.completion_s_mean
    rates = (
        "-"
        if snapshot.completed_per_second is None
        else (
            f"{snapshot.completed_per_second:.1f}/s completed, {snapshot.unsuccessful_per_second:.1f}/s without success"
        )
    )
    return (
        f"hive {snapshot.hive}   {snapshot.taken_at.astimezone():%H:%M:%S}",
        (
            f"queue   {queue.ready} ready, {queue.queued} waiting, {_ended(snapshot.stats, 'assigned', 'running')} with agents, "
            f"{tasks.get('pending_approval', 0)} to approve, {queue.blocked} blocked"
        ),
        (
            f"ended   {tasks.get('completed', 0)} completed, {tasks.get('cancelled', 0)} cancelled, "
            f"{_ended(snapshot.stats, 'failed', 'dead_lettered')} dead letters"
        ),
        f"rates   {rates}" + (f", {duration(mean_s)} from submit to end" if mean_s else ""),
        (
            f"agents  {snapshot.stats.agents.get('present', 0)} present, {snapshot.stats.agents.get('lost', 0)} lost, "
            f"{snapshot.stats.agents.get('away', 0)} away; {busy} of {slots} slots busy"
        ),
    )


def _agent(agent: AgentView) -> list[str]:
    state = "drained" if agent.drained and agent.state == "present" else agent.state
    row = (agent.agent_id, state, agent.busy_slots, agent.slots, agent.capabilities)
    return [clean(cell) for cell in row]


def _task(task: TaskView) -> list[str]:
    return [clean(cell) for cell in (task.task_id, task.status, task.priority, ago(task.created_at), task.title)]
