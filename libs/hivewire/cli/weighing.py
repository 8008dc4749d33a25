"""Why agents were chosen, and what other weights would have changed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hivewire.cli import parse
from hivewire.cli.output import Column, ago, duration, print_json, print_table, say
from hivewire.cli.reach import TASKS, AsJson, reaches
from hivewire.cli.render import print_candidates
from hivewire.cli.tasks import TaskId

if TYPE_CHECKING:
    from hivewire.client import Client
    from hivewire.explanations import Explanation

CHANGES_SHOWN_MAX = 10


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (explain, whatif):
        app.command(command.__name__, rich_help_panel=TASKS)(reaches(command))


async def explain(
    hive: "Client",
    task_id: TaskId,
    *,
    attempt: Annotated[int | None, typer.Option(min=1, help="Which attempt. Else the last.")] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Decide it again with these weights.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say why an attempt went to its agent, and what would have changed that."""
    found = await hive.explain(task_id, attempt, None if weights is None else parse.weights(weights))
    if as_json:
        print_json(found)
        return
    say(f"Attempt {found.attempt} went to {found.agent_id} {ago(found.decided_at)}: {found.reason}")
    if found.oversight != "autonomous":
        say(f"oversight: {found.oversight}")
    print_candidates(found)
    if found.reweighted:
        _print_winner(found)
    else:
        _print_counterfactuals(found)


def _print_winner(found: "Explanation") -> None:
    if found.winner is None:
        say("\nwith these weights it is not known: an agent that was not recorded could win")
    elif found.winner == found.agent_id:
        say(f"\nwith these weights {found.winner} wins too")
    else:
        say(f"\nwith these weights {found.winner} wins")


def _print_counterfactuals(found: "Explanation") -> None:
    lines = [
        f"  {name} {shift.change:+.4f}: {shift.agent_id} wins"
        for name, shift in found.shifts.items()
        if shift is not None
    ]
    if lines:
        say("\nwhat would have changed it, the other weights scaled:")
        for line in lines:
            say(line)
    if found.if_idle:
        say(f"\n{found.if_idle} would have won if it were idle")


async def whatif(
    hive: "Client",
    *,
    weights: Annotated[Path, typer.Option(metavar="FILE", help="The other weights.", show_default=False)],
    since: Annotated[str, typer.Option(help="How far back, such as 1h or 7d.")] = "7d",
    as_json: AsJson = False,
) -> None:
    """Take recorded decisions again with other weights, and say what would be different."""
    found = await hive.whatif(parse.weights(weights), parse.moment(since))
    if as_json:
        print_json(found)
        return
    say(f"{found.decisions} decisions: {found.changed} would change, {found.undecided} are undecided")
    for what, (was, would_be) in (("load skew", found.skew), ("mean wait", found.wait_s)):
        shown = (duration(was), duration(would_be)) if what == "mean wait" else (f"{was:.2f}", f"{would_be:.2f}")
        say(f"{what} {shown[0]} -> {shown[1]}")
    if found.changes:
        say()
        rows = ((one.task_id, one.attempt, one.agent_id, one.would_be) for one in found.changes[:CHANGES_SHOWN_MAX])
        columns = (Column("TASK"), Column("ATTEMPT", right=True), Column("WENT TO"), Column("WOULD GO TO"))
        print_table(columns, rows, "")
