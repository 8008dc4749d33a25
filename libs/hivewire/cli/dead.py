"""Tasks that ended without success."""

from typing import TYPE_CHECKING, Annotated

import typer

from hivewire import exit_codes
from hivewire.cli.output import Column, ago, collected, print_json, print_table, say
from hivewire.cli.reach import TASKS, AsJson, reaches
from hivewire.cli.render import print_task
from hivewire.cli.show_group import ShowGroup
from hivewire.cli.tasks import Limit, Reason
from hivewire.errors import BadUsage, RefusedError

if TYPE_CHECKING:
    from hivewire.client import Client

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
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    reason: Reason = "",
    as_json: AsJson = False,
) -> int:
    """Open dead tasks again, with a fresh retry budget."""
    if (task_id is None) is not every:
        raise BadUsage("name one task, or take --all")
    ids = [task_id] if task_id else [task.task_id async for task in hive.dead()]
    briefs, refused = [], {}
    for one in ids:
        try:
            briefs.append(await hive.retry(one, reason))
        except RefusedError as error:
            if not every:
                raise
            refused[one] = str(error)
    if as_json:
        print_json(briefs)
    else:
        say(f"{len(briefs)} replayed" + (f", {len(refused)} refused" if refused else ""))
        for one, reason_why in refused.items():
            say(f"{one}: {reason_why}")
    return exit_codes.REFUSED if refused else exit_codes.DONE
