"""Looking at tasks and steering them."""

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from hivewire import exit_codes
from hivewire.cli import parse
from hivewire.cli.output import (
    Column,
    collected,
    duration,
    print_json,
    print_json_line,
    print_table,
    say,
)
from hivewire.cli.reach import TASKS, AsJson, reaches
from hivewire.cli.render import event_line, print_brief, print_task, print_tasks
from hivewire.cli.waiting import telling_why

if TYPE_CHECKING:
    from hivewire.client import Client

TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task's id.", show_default=False)]
Limit = Annotated[int, typer.Option(min=1, help="How many at most.")]
AsOf = Annotated[str | None, typer.Option(metavar="1h|TIME", help="As it was then, by the history.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (tasks, task, watch, queue, cancel, retry, why, stats):
        app.command(command.__name__, rich_help_panel=TASKS)(reaches(command))


async def tasks(
    hive: "Client",
    *,
    status: Annotated[list[str] | None, typer.Option("--status", help="Only these; may be repeated.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    source: Annotated[str | None, typer.Option(help="Only from this source.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only those given to this agent.")] = None,
    phase: Annotated[str | None, typer.Option(help="Only those of this phase.")] = None,
    label: Annotated[str | None, typer.Option(metavar="KEY=VALUE", help="Only those with this label.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first."""
    from hivewire import limits, paging, reads, views

    query = reads.ListTasks(
        status=status or [],
        owner=owner,
        source=source,
        agent=agent,
        phase=phase,
        label=label,
        limit=limits.LIST_ITEMS_MAX,
    )
    found = await collected(paging.items(hive.connection, "broker", "tasks", query, views.TaskView, limit))
    if as_json:
        print_json(found)
    else:
        print_tasks(
            found, "There are no such tasks." if any((status, owner, source, agent, phase, label)) else NO_TASKS
        )


NO_TASKS = "There are no tasks yet: submit one with `hivewire submit TITLE`."


async def task(hive: "Client", task_id: TaskId, *, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Show a task and its attempts, as it is or as it was."""
    found = await hive.task(task_id, parse.moment(as_of) if as_of else None)
    if as_json:
        print_json(found)
    else:
        print_task(found)


async def watch(
    hive: "Client",
    task_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A task; without one, everything.")] = None,
    *,
    as_json: AsJson = False,
) -> int:
    """Follow a task until it has ended, or everything that happens."""
    last = ""
    async with telling_why(hive, task_id) if task_id else contextlib.nullcontext():
        async for event in hive.watch(task_id):
            if as_json:
                print_json_line(event)
            else:
                say(event_line(event, with_entity=task_id is None), at_once=True)
            last = event.type
    return exit_codes.DONE if last == "task.completed" else exit_codes.WORK_FAILED


async def queue(hive: "Client", *, limit: Limit = 100, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Show what waits, or waited, in the order in which it is dispatched."""
    found = await hive.queue(limit, parse.moment(as_of) if as_of else None)
    if as_json:
        print_json(found)
        return
    say(f"{found.ready} ready, {found.queued} waiting for something, {found.blocked} blocked")
    if found.items:
        say()
        print_tasks(found.items, "")


async def cancel(hive: "Client", task_id: TaskId, *, reason: Reason = "", as_json: AsJson = False) -> None:
    """End a task that has not ended."""
    print_brief(await hive.cancel(task_id, reason), as_json=as_json)


async def retry(hive: "Client", task_id: TaskId, *, reason: Reason = "", as_json: AsJson = False) -> None:
    """Open a task that ended without success again."""
    print_brief(await hive.retry(task_id, reason), as_json=as_json)


async def why(hive: "Client", task_id: TaskId, *, as_json: AsJson = False) -> None:
    """Say in one sentence why a task is where it is."""
    found = await hive.why(task_id)
    if as_json:
        print_json(found)
    else:
        say(found.sentence)


async def stats(hive: "Client", *, as_json: AsJson = False) -> None:
    """Count tasks by status, and agents by state."""
    found = await hive.stats()
    if as_json:
        print_json(found)
        return
    mean = found.completion_s_mean
    print_table((Column("TASKS"), Column("COUNT", right=True)), sorted(found.tasks.items()), "There are no tasks yet.")
    say()
    print_table(
        (Column("AGENTS"), Column("COUNT", right=True)), sorted(found.agents.items()), "There are no agents yet."
    )
    say(f"\nqueue depth {found.queue_depth}" + (f", completed in {duration(mean)} on average" if mean else ""))
