"""Phases: sets of tasks that start as a whole."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hivewire.cli.output import collected, print_json, say
from hivewire.cli.plans import Description, Title, print_phase, print_phase_brief, print_phases
from hivewire.cli.reach import PLANS, AsJson, reaches
from hivewire.cli.tasks import Limit, Reason
from hivewire.errors import BadUsage

if TYPE_CHECKING:
    from hivewire.client import Client, PhaseVerb

PhaseId = Annotated[str, typer.Argument(metavar="ID", help="The phase's id.", show_default=False)]
Initiative = Annotated[str | None, typer.Option(metavar="ID", help="Only of this initiative.", show_default=False)]

NO_PHASES = "There are no phases yet: create one with `hivewire phase create TITLE`."


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Phases: sets of tasks that start as a whole, one after the other.")
    for command in (create, list_phases, show, dispatch, next_phase, state, update):
        name = command.__name__.removesuffix("_phases").removesuffix("_phase")
        group.command(name)(reaches(command))
    for verb, text in STEERING.items():
        group.command(verb, help=text)(reaches(_steering(verb)))
    app.add_typer(group, name="phase", rich_help_panel=PLANS)


async def create(
    hive: "Client",
    title: Title,
    *,
    phase_id: Annotated[str | None, typer.Option("--id", help="Its id. Else one is made.", show_default=False)] = None,
    initiative: Annotated[
        str | None, typer.Option(metavar="ID", help="What it is part of.", show_default=False)
    ] = None,
    after: Annotated[
        list[str] | None, typer.Option("--after", metavar="PHASE", help="A phase that must be completed before.")
    ] = None,
    description: Description = "",
    as_json: AsJson = False,
) -> None:
    """Create a phase. It must be approved and queued before it starts."""
    from hivewire.commands.broker import CreatePhase

    phase = CreatePhase(
        title=title, id=phase_id, initiative_id=initiative, depends_on=after or [], description=description
    )
    brief = await hive.create_phase(phase)
    if as_json:
        print_json(brief)
    else:
        say(brief.phase_id)


async def list_phases(
    hive: "Client", *, initiative: Initiative = None, limit: Limit = 100, as_json: AsJson = False
) -> None:
    """List phases, newest first."""
    found = await collected(hive.phases(initiative, limit))
    if as_json:
        print_json(found)
    else:
        print_phases(found, NO_PHASES)


async def show(hive: "Client", phase_id: PhaseId, *, as_json: AsJson = False) -> None:
    """Show a phase, with its tasks counted."""
    found = await hive.phase(phase_id)
    if as_json:
        print_json(found)
    else:
        print_phase(found)


async def dispatch(
    hive: "Client",
    phase_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Which phase.", show_default=False)] = None,
    *,
    first: Annotated[bool, typer.Option("--next", help="The first that can start.")] = False,
    initiative: Initiative = None,
    as_json: AsJson = False,
) -> None:
    """Start a phase that is approved and whose dependencies are completed."""
    if (phase_id is None) is not first:
        raise BadUsage("name one phase, or take --next")
    brief = await (hive.dispatch_next_phase(initiative) if phase_id is None else hive.steer_phase("dispatch", phase_id))
    print_phase_brief(brief, as_json=as_json)


async def next_phase(hive: "Client", *, initiative: Initiative = None, as_json: AsJson = False) -> None:
    """Show the phase that could start first, without starting it."""
    found = await hive.next_phase(initiative)
    if as_json:
        print_json(found)
    else:
        print_phase(found)


async def state(hive: "Client", *, initiative: Initiative = None, as_json: AsJson = False) -> None:
    """Show the phases that are queued, ready and blocked."""
    found = await hive.phase_queue(initiative)
    if as_json:
        print_json(found)
        return
    say(f"{len(found.ready)} ready, {len(found.queued)} queued behind others, {len(found.blocked)} blocked")
    waiting = [*found.ready, *found.queued, *found.blocked]
    if waiting:
        say()
        print_phases(waiting, "")


async def update(
    hive: "Client",
    phase_id: PhaseId,
    *,
    after: Annotated[
        list[str] | None, typer.Option("--after", metavar="PHASE", help="What it depends on now; none: nothing.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change what a phase that has not started depends on."""
    print_phase_brief(await hive.update_phase(phase_id, after or []), as_json=as_json)


STEERING: "dict[PhaseVerb, str]" = {
    "approve": "Allow a phase to be queued.",
    "queue": "Let a phase start by itself once its dependencies are completed.",
    "block": "Keep a phase from starting or completing.",
    "unblock": "Let a blocked phase go on.",
    "complete": "Say that a phase is done, whatever its tasks ended as.",
}


def _steering(verb: "PhaseVerb") -> Callable[..., Coroutine[Any, Any, None]]:
    async def steer(hive: "Client", phase_id: PhaseId, *, reason: Reason = "", as_json: AsJson = False) -> None:
        print_phase_brief(await hive.steer_phase(verb, phase_id, reason), as_json=as_json)

    return steer
