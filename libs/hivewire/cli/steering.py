"""Steering single tasks: approving, rejecting, blocking, giving out by name, changing."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hivewire.cli import parse
from hivewire.cli.output import print_json, say
from hivewire.cli.reach import TASKS, AsJson, reaches
from hivewire.cli.render import print_brief, print_task
from hivewire.cli.tasks import Reason, TaskId
from hivewire.errors import BadUsage

if TYPE_CHECKING:
    from hivewire.client import Client


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (enqueue, dispatch, next_task, approve, reject, block, unblock, update):
        name = command.__name__.removesuffix("_task")
        app.command(name, rich_help_panel=TASKS)(reaches(command))


async def enqueue(hive: "Client", task_id: TaskId, *, as_json: AsJson = False) -> None:
    """Let a task be dispatched although its phase has not started."""
    print_brief(await hive.enqueue(task_id), as_json=as_json)


async def dispatch(
    hive: "Client",
    task_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Which task.", show_default=False)] = None,
    *,
    first: Annotated[bool, typer.Option("--next", help="The first that is ready.")] = False,
    to: Annotated[str | None, typer.Option(metavar="AGENT", help="To whom. Else to the best.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give a task to an agent now, also one that is dispatched by name only."""
    if (task_id is None) is not first:
        raise BadUsage("name one task, or take --next")
    brief = await hive.dispatch_next(to) if task_id is None else await hive.dispatch(task_id, to)
    if as_json:
        print_json(brief)
    else:
        say(f"{brief.task_id} went to {brief.agent_id}")


async def next_task(hive: "Client", *, as_json: AsJson = False) -> None:
    """Show the ready task that would be dispatched first, without dispatching it."""
    found = await hive.next()
    if as_json:
        print_json(found)
    else:
        print_task(found)


async def approve(hive: "Client", task_id: TaskId, *, reason: Reason = "", as_json: AsJson = False) -> None:
    """Accept the work of a task that is pending approval."""
    print_brief(await hive.approve(task_id, reason), as_json=as_json)


async def reject(
    hive: "Client",
    task_id: TaskId,
    *,
    reason: Annotated[str, typer.Option(help="What is wrong; the next attempt is told.", show_default=False)] = "",
    final: Annotated[bool, typer.Option("--final", help="No more attempts: the task has failed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Refuse the work of a task that is pending approval."""
    print_brief(await hive.reject(task_id, reason, final=final), as_json=as_json)


async def block(hive: "Client", task_id: TaskId, *, reason: Reason = "", as_json: AsJson = False) -> None:
    """Keep a pending task from being dispatched."""
    print_brief(await hive.block(task_id, reason), as_json=as_json)


async def unblock(hive: "Client", task_id: TaskId, *, reason: Reason = "", as_json: AsJson = False) -> None:
    """Let a blocked task go on."""
    print_brief(await hive.unblock(task_id, reason), as_json=as_json)


async def update(
    hive: "Client",
    task_id: TaskId,
    *,
    priority: Annotated[str | None, typer.Option(help="0 to 10 (first), or low, medium, high.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; they replace all others.")
    ] = None,
    timeout_s: Annotated[float | None, typer.Option("--timeout", help="Seconds that an attempt may run.")] = None,
    after: Annotated[
        list[str] | None,
        typer.Option("--after", metavar="TASK", help="It waits for this task; they replace all others."),
    ] = None,
    after_none: Annotated[bool, typer.Option("--after-none", help="It waits for no other task.")] = False,
    as_json: AsJson = False,
) -> None:
    """Change a task that has not ended."""
    if after and after_none:
        raise BadUsage("--after and --after-none contradict one another: take one of them")
    changes: dict[str, Any] = {
        "priority": None if priority is None else parse.priority(priority),
        "labels": parse.pairs(label) if label else None,
        "timeout_s": timeout_s,
        "depends_on": [] if after_none else after,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    print_brief(await hive.update(task_id, **given), as_json=as_json)
