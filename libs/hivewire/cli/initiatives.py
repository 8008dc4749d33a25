"""Initiatives: pieces of work made of phases."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hivewire.cli.output import collected, print_json, say
from hivewire.cli.plans import (
    Description,
    Title,
    print_initiative,
    print_initiative_brief,
    print_initiatives,
    print_phase,
    print_phase_brief,
    print_phases,
)
from hivewire.cli.reach import PLANS, AsJson, reaches
from hivewire.cli.tasks import Limit, Reason

if TYPE_CHECKING:
    from hivewire.client import Client, InitiativeVerb

InitiativeId = Annotated[str, typer.Argument(metavar="ID", help="The initiative's id.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Initiatives: pieces of work made of phases.")
    for command in (create, list_initiatives, show, state, next_phase, dispatch):
        name = command.__name__.removesuffix("_initiatives").removesuffix("_phase")
        group.command(name)(reaches(command))
    for verb, text in STEERING.items():
        group.command(verb, help=text)(reaches(_steering(verb)))
    app.add_typer(group, name="initiative", rich_help_panel=PLANS)


async def create(
    hive: "Client",
    title: Title,
    *,
    initiative_id: Annotated[
        str | None, typer.Option("--id", help="Its id. Else one is made.", show_default=False)
    ] = None,
    approval: Annotated[
        bool, typer.Option("--approval", help="Its tasks need approval, unless they say otherwise.")
    ] = False,
    description: Description = "",
    as_json: AsJson = False,
) -> None:
    """Create an initiative."""
    from hivewire.commands.broker import CreateInitiative

    initiative = CreateInitiative(title=title, id=initiative_id, requires_approval=approval, description=description)
    brief = await hive.create_initiative(initiative)
    if as_json:
        print_json(brief)
    else:
        say(brief.initiative_id)


async def list_initiatives(hive: "Client", *, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List initiatives, newest first."""
    found = await collected(hive.initiatives(limit))
    if as_json:
        print_json(found)
    else:
        print_initiatives(found)


async def show(hive: "Client", initiative_id: InitiativeId, *, as_json: AsJson = False) -> None:
    """Show an initiative with the graph of its phases."""
    found = await hive.initiative(initiative_id)
    if as_json:
        print_json(found)
    else:
        print_initiative(found)


async def state(hive: "Client", initiative_id: InitiativeId, *, as_json: AsJson = False) -> None:
    """Show which of its phases are queued, ready and blocked."""
    found = await hive.phase_queue(initiative_id)
    if as_json:
        print_json(found)
        return
    say(f"{len(found.ready)} ready, {len(found.queued)} queued behind others, {len(found.blocked)} blocked")
    print_phases([*found.ready, *found.queued, *found.blocked], "")


async def next_phase(hive: "Client", initiative_id: InitiativeId, *, as_json: AsJson = False) -> None:
    """Show which of its phases could start first."""
    found = await hive.next_phase(initiative_id)
    if as_json:
        print_json(found)
    else:
        print_phase(found)


async def dispatch(hive: "Client", initiative_id: InitiativeId, *, as_json: AsJson = False) -> None:
    """Start the first of its phases that is approved and whose dependencies are completed."""
    print_phase_brief(await hive.dispatch_next_phase(initiative_id), as_json=as_json)


STEERING: "dict[InitiativeVerb, str]" = {
    "approve": "Approve all of its phases that wait for it.",
    "queue": "Queue all of its phases that are approved.",
    "block": "Block all of its phases that have not ended.",
    "unblock": "Unblock all of its phases that no failed task keeps blocked.",
    "complete": "Say that no more phases will come, once all are completed.",
}


def _steering(verb: "InitiativeVerb") -> Callable[..., Coroutine[Any, Any, None]]:
    async def steer(
        hive: "Client", initiative_id: InitiativeId, *, reason: Reason = "", as_json: AsJson = False
    ) -> None:
        print_initiative_brief(await hive.steer_initiative(verb, initiative_id, reason), as_json=as_json)

    return steer
