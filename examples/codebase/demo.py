"""The demo from its beginning to the tables at its end."""

import asyncio
import time
from contextlib import nullcontext
from pathlib import Path

import msgspec
from rich.columns import Columns
from rich.console import Console
from rich.live import Live

from examples.codebase import audit, summary
from examples.codebase.board import Board
from examples.codebase.findings import Findings
from examples.codebase.plan import FAILURES, REPORT, Plan
from examples.codebase.stage import Stage
from examples.codebase.work import Work
from hivewire import Client
from hivewire.views import EventView

WORK_S_MAX = 150.0
FILE_S_MAX = 0.2
"""More time for each file of a large tree."""


async def play(folder: Path, plan: Plan, console: Console) -> list[str]:
    """Have a fleet do the work of `plan`; what the hive got wrong.

    Raises:
        ProcessEnded: a process ended that should run.
        HivewireError: the work failed, or the hive cannot be reached.
        TimeoutError: the work was not done in time.
    """
    begun = time.monotonic()
    patience_s = WORK_S_MAX + FILE_S_MAX * len(plan.files)
    board = Board(console)
    async with Stage(folder) as stage:
        context = await stage.start_hive()
        board.note(f"the hive is ready; `HIVEWIRE_DATA={context.data_dir} hivewire watch` shows it in another terminal")
        async with Client.connect(context=context) as hive, asyncio.timeout(patience_s):
            work = Work(plan, stage, hive, board)
            with Live(get_renderable=board.__rich__, console=console) if console.is_terminal else nullcontext():
                await stage.see_through(work.do())
            events = await audit.history(hive)
            report = msgspec.convert(await work.tasks[REPORT].result(), Findings)
            await _show(console, hive, work, report, events)
            problems = await _problems(work, report, events)
    if not problems:
        console.print(
            f"{report.files} files, {len(work.tasks)} tasks, each completed once, and the report is right "
            f"({time.monotonic() - begun:.0f} s)",
            style="green",
        )
    return problems


async def _show(console: Console, hive: Client, work: Work, report: Findings, events: list[EventView]) -> None:
    """Print the tables."""
    console.print(summary.report(report))
    stats = await hive.stats()
    console.print(Columns([summary.by_status(stats.tasks), summary.by_agent(events), summary.by_event(events)]))
    task = await work.tasks[work.plan.tasks[0]["key"]].view()
    console.print(summary.choice(task.title, await hive.explain(task.task_id)))


async def _problems(work: Work, report: Findings, events: list[EventView]) -> list[str]:
    """What differs from what was promised."""
    plan = work.plan
    titles = {work.tasks[task["key"]].id: task["title"] for task in plan.tasks}
    problems = audit.not_once(titles, events)
    problems += audit.differences(report, await asyncio.to_thread(audit.direct, plan.files))
    if not audit.repeated(work.tasks[plan.hanging].id, "lost", events):
        problems.append("the task whose agent was killed was not taken from it")
    if audit.repeated(work.tasks[plan.failing].id, "failed", events) != FAILURES:
        problems.append(f"the task that fails {FAILURES} times did not")
    if await work.unmatched.status() != "cancelled":
        problems.append("the task that nobody can take was not cancelled")
    return problems
