"""Tasks that ended without success."""

from typing import TYPE_CHECKING, Annotated

import typer

from hivewire import exit_codes, limits
from hivewire.cli.output import Column, ago, collected, print_json, print_table, say
from hivewire.cli.reach import TASKS, AsJson, reaches
from hivewire.cli.render import print_brief, print_task
from hivewire.cli.show_group import ShowGroup
from hivewire.cli.tasks import Limit, Reason
from hivewire.errors import BadUsage

if TYPE_CHECKING:
    from hivewire.client import Client
    from hivewire.views import ReplayView

COLUMNS = (
    Column("TASK"),
    Column("STATUS"),
    Column("ATTEMPTS", spare=2, right=True),
    Column("ENDED", spare=1),
    Column("TITLE", spare=3),
    Column("ERROR", fill=True),
)

REPLAY_COLUMNS = (
    Column("REPLAY"),
    Column("STATUS"),
    Column("REPLAYED", right=True),
    Column("REFUSED", right=True),
    Column("SINCE"),
    Column("BY", fill=True),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=ShowGroup, help="Tasks that ended failed or dead_lettered: list them, or show one.")
    group.command("show", hidden=True)(reaches(show))
    for command in (replay, replays, stop):
        group.command(command.__name__)(reaches(command))
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
    rate: Annotated[
        float, typer.Option(min=0.01, max=limits.REPLAY_RATE_MAX, help="How many a second at most.")
    ] = limits.REPLAY_RATE,
    wait: Annotated[bool, typer.Option(help="Wait until none is left; the hive goes on without us.")] = True,
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
    from hivewire import history, reads
    from hivewire.commands.broker import Replay

    wanted = Replay(owner=owner, phase=phase, error=error, rate=rate, reason=reason)
    started = await hive.replay(wanted)
    if wait:
        query = reads.ListEvents(type="replay", entity_id=started.replay_id)
        async for event in history.follow(hive.connection, query):
            if event.type in {"replay.completed", "replay.stopped"}:
                break
    found = await hive.replay_of(started.replay_id)
    if as_json:
        print_json(found)
    else:
        say(_told(found))
    return exit_codes.REFUSED if found.refused else exit_codes.DONE


async def replays(hive: "Client", *, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List replays, newest first."""
    found = await collected(hive.replays(limit))
    if as_json:
        print_json(found)
        return
    rows = ((one.replay_id, one.status, one.replayed, one.refused, ago(one.started_at), one.by) for one in found)
    print_table(REPLAY_COLUMNS, rows, "Nothing was replayed yet.")


async def stop(
    hive: "Client",
    replay_id: Annotated[str, typer.Argument(metavar="REPLAY_ID", help="Which replay.", show_default=False)],
    *,
    as_json: AsJson = False,
) -> None:
    """Let a replay open no more dead tasks."""
    await hive.stop_replay(replay_id)
    found = await hive.replay_of(replay_id)
    if as_json:
        print_json(found)
    else:
        say(_told(found))


def _told(found: "ReplayView") -> str:
    counts = f"{found.replayed} replayed" + (f", {found.refused} refused" if found.refused else "")
    if found.status == "running":
        return f"replay {found.replay_id} runs: {counts}, {found.remaining} to go"
    return counts if found.status == "completed" else f"replay {found.replay_id} was stopped: {counts}"
