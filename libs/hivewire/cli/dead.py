"""Tasks that ended without success."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from hivewire import exit_codes
from hivewire.cli.output import Column, ago, collected, print_json, print_table, say
from hivewire.cli.reach import TASKS, AsJson, reaches
from hivewire.cli.render import print_brief, print_task
from hivewire.cli.show_group import ShowGroup
from hivewire.cli.tasks import Limit, Reason
from hivewire.errors import BadUsage, RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hivewire.client import Client
    from hivewire.views import TaskBrief, TaskView

RATE = 50.0
"""Tasks a second: a fleet that was down does not get everything at once."""

COLUMNS = (
    Column("TASK"),
    Column("STATUS"),
    Column("ATTEMPTS", spare=2, right=True),
    Column("ENDED", spare=1),
    Column("TITLE", spare=3),
    Column("ERROR", fill=True),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=ShowGroup, help="Tasks that ended failed or dead_lettered: list them, or show one.")
    group.command("show", hidden=True)(reaches(show))
    group.command("replay")(reaches(replay))
    app.add_typer(group, name="dead", rich_help_panel=TASKS)


async def show(
    hive: "Client",
    task_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="One of them, whole.")] = None,
    *,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List the tasks that ended failed or dead_lettered, newest first, or show one."""
    if task_id is not None:
        found = await hive.task(task_id)
        if as_json:
            print_json(found)
        else:
            print_task(found)
        return
    tasks = await collected(hive.dead(limit))
    if as_json:
        print_json(tasks)
        return
    rows = (
        (
            task.task_id,
            task.status,
            task.attempt,
            ago(task.ended_at),
            task.title,
            (task.error or task.reason or "").partition("\n")[0],
        )
        for task in tasks
    )
    print_table(COLUMNS, rows, "No task has failed for good.")


async def replay(
    hive: "Client",
    task_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Which one.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All of them, or all that the options below name.")] = False,
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    phase: Annotated[str | None, typer.Option(help="Only those of this phase.")] = None,
    error: Annotated[str | None, typer.Option(metavar="TEXT", help="Only those whose error contains this.")] = None,
    rate: Annotated[float, typer.Option(min=0.01, help="How many a second at most.")] = RATE,
    reason: Reason = "",
    as_json: AsJson = False,
) -> int:
    """Open dead tasks again, with a fresh retry budget."""
    filtered = any((owner, phase, error))
    if (task_id is None) is not (every or filtered):
        raise BadUsage("name one task, or take --all, --owner, --phase or --error")
    if task_id is not None:
        print_brief(await hive.retry(task_id, reason), as_json=as_json)
        return exit_codes.DONE
    ids = [task.task_id async for task in hive.dead() if _fits(task, owner, phase, error)]
    briefs, refused = await _replay(hive, ids[::-1], reason, rate)
    if as_json:
        print_json(briefs)
    else:
        say(f"{len(briefs)} replayed" + (f", {len(refused)} refused" if refused else ""))
        for one, reason_why in refused.items():
            say(f"{one}: {reason_why}")
    return exit_codes.REFUSED if refused else exit_codes.DONE


def _fits(task: "TaskView", owner: str | None, phase: str | None, error: str | None) -> bool:
    return (
        owner in (None, task.owner)
        and phase in (None, task.phase_id)
        and (error is None or error in (task.error or task.reason or ""))
    )


async def _replay(
    hive: "Client", ids: "Sequence[str]", reason: str, rate: float
) -> "tuple[list[TaskBrief], dict[str, str]]":
    """Retry the tasks in this order, no faster than `rate` a second; those refused with the reason."""
    briefs: list[TaskBrief] = []
    refused: dict[str, str] = {}
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    for number, task_id in enumerate(ids):
        await asyncio.sleep(began_s + number / rate - loop.time())
        try:
            briefs.append(await hive.retry(task_id, reason))
        except RefusedError as error:
            refused[task_id] = str(error)
    return briefs, refused
