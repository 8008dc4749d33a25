"""`hivewire submit`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hivewire import exit_codes
from hivewire.cli import parse
from hivewire.cli.batch_file import submit_file
from hivewire.cli.output import as_text, complain, print_json, say
from hivewire.cli.reach import TASKS, AsJson, reaches
from hivewire.cli.waiting import telling_why
from hivewire.errors import BadUsage

if TYPE_CHECKING:
    from hivewire.client import Client
    from hivewire.task_handle import TaskHandle


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("submit", rich_help_panel=TASKS)(reaches(submit))


async def submit(
    hive: "Client",
    title: Annotated[str | None, typer.Argument(help="What is to be done.", show_default=False)] = None,
    *,
    needs: Annotated[
        list[str] | None,
        typer.Option("--needs", metavar="CAP", help="A capability the agent must have; may be repeated."),
    ] = None,
    priority: Annotated[str, typer.Option(help="0 to 10 (first), or low, medium, high.")] = "medium",
    after: Annotated[
        list[str] | None, typer.Option("--after", metavar="TASK|KEY", help="A task that must be completed before.")
    ] = None,
    payload: Annotated[str | None, typer.Option(metavar="JSON|@FILE|-", help="Data for the agent.")] = None,
    timeout_s: Annotated[float | None, typer.Option("--timeout", help="Seconds that an attempt may run.")] = None,
    retries: Annotated[int | None, typer.Option(help="How often it is tried again.")] = None,
    approval: Annotated[bool, typer.Option("--approval", help="It is completed only once approved.")] = False,
    phase: Annotated[str | None, typer.Option(help="The phase that it belongs to.")] = None,
    key: Annotated[str | None, typer.Option(help="The same key again is the same task.")] = None,
    task_id: Annotated[str | None, typer.Option("--id", help="The task's id. Else one is made.")] = None,
    description: Annotated[str | None, typer.Option(help="More about it.")] = None,
    owner: Annotated[str | None, typer.Option(help="Whose task it is. Else the submitter's.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label.")] = None,
    batch: Annotated[
        str | None, typer.Option("--batch", metavar="FILE.jsonl|-", help="Submit many: one JSON object a line.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end, and print the result.")] = False,
    as_json: AsJson = False,
) -> int:
    """Submit a task, or many from a file, and print the id."""
    if batch is not None:
        if title is not None:
            raise BadUsage("give either a title or --batch FILE, not both")
        return await submit_file(hive, batch, wait=wait, as_json=as_json)
    if title is None:
        raise BadUsage('say what is to be done: hivewire submit "Review PR 42", or --batch FILE')
    options: dict[str, Any] = {
        "needs": parse.capabilities(needs),
        "priority": parse.priority(priority),
        "after": await _resolved(hive, after or []),
        "payload": None if payload is None else parse.payload(payload),
        "timeout_s": timeout_s,
        "retries": retries,
        "approval": approval or None,
        "phase": phase,
        "key": key,
        "id": task_id,
        "description": description,
        "owner": owner,
        "labels": parse.pairs(label or []),
    }
    task = await hive.submit(title, **{name: value for name, value in options.items() if value not in (None, [], {})})
    if wait:
        return await _wait(hive, task, as_json=as_json)
    if as_json:
        print_json({"task_id": task.id, "created": task.created})
    else:
        say(task.id)
        if not task.created:
            complain("the same task was submitted before")
    return exit_codes.DONE


async def _wait(hive: "Client", task: "TaskHandle", *, as_json: bool) -> int:
    async with telling_why(hive, task.id):
        if not as_json:
            say(as_text(await task.result()))
            return exit_codes.DONE
        ended = await task.ended()
        print_json(ended)
    return exit_codes.DONE if ended.status == "completed" else exit_codes.WORK_FAILED


async def _resolved(hive: "Client", names: list[str]) -> list[str]:
    """Ids of tasks that are named by their id or by the key that we submitted them with."""
    from hivewire.ids import task_id_for_key
    from hivewire.reads import ListTasks
    from hivewire.subjects import is_token

    line = hive.connection
    by_key = {name: task_id_for_key(line.subjects.hive, line.sender, name) for name in names}
    wanted = [*by_key.values(), *(name for name in names if is_token(name))]
    if not wanted:
        return []
    known = {task.task_id for task in (await hive.tasks(ListTasks(ids=wanted, limit=len(wanted)))).items}
    return [by_key[name] if by_key[name] in known else name for name in names]
