"""What the commands of phases and of initiatives have in common: how they are printed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hivewire.cli.output import Column, ago, print_facts, print_json, print_table, say

if TYPE_CHECKING:
    from hivewire.views import InitiativeBrief, InitiativeView, PhaseBrief, PhaseView

Title = Annotated[str, typer.Argument(help="What it is.", show_default=False)]
Description = Annotated[str, typer.Option(help="More about it.", show_default=False)]

_PHASES = (
    Column("PHASE"),
    Column("STATUS"),
    Column("TASKS", right=True, spare=2),
    Column("AFTER", spare=1),
    Column("TITLE", fill=True),
)
_INITIATIVES = (Column("INITIATIVE"), Column("STATUS"), Column("CREATED", spare=1), Column("TITLE", fill=True))


def standing(phase: "PhaseView | PhaseBrief") -> str:
    """A phase's status, and how far it is while it is pending."""
    if phase.status != "pending":
        return phase.status
    return "queued" if phase.queued else "approved" if phase.approved else "pending"


def print_phases(phases: Sequence["PhaseView"], empty: str) -> None:
    """A table of phases."""
    rows = (
        (
            phase.phase_id,
            standing(phase),
            f"{phase.tasks.get('completed', 0)}/{sum(phase.tasks.values())}",
            ", ".join(phase.depends_on),
            phase.title,
        )
        for phase in phases
    )
    print_table(_PHASES, rows, empty)


def print_phase(phase: "PhaseView") -> None:
    """All that is known of a phase."""
    print_facts(
        (
            ("phase", phase.phase_id),
            ("title", phase.title),
            ("status", standing(phase)),
            ("reason", phase.reason),
            ("blocked by", phase.blocked_by),
            ("initiative", phase.initiative_id),
            ("depends on", phase.depends_on),
            ("tasks", [f"{count} {status}" for status, count in sorted(phase.tasks.items())]),
            ("description", phase.description),
            ("created", ago(phase.created_at)),
            ("started", ago(phase.started_at) if phase.started_at else None),
            ("ended", ago(phase.ended_at) if phase.ended_at else None),
        )
    )


def print_initiatives(initiatives: Sequence["InitiativeView"]) -> None:
    """A table of initiatives."""
    rows = ((found.initiative_id, found.status, ago(found.created_at), found.title) for found in initiatives)
    print_table(_INITIATIVES, rows, "There are no initiatives yet: create one with `hivewire initiative create TITLE`.")


def print_initiative(initiative: "InitiativeView") -> None:
    """An initiative with the graph of its phases, each with what it comes after."""
    print_facts(
        (
            ("initiative", initiative.initiative_id),
            ("title", initiative.title),
            ("status", initiative.status),
            ("approval", "its tasks need it, unless they say otherwise" if initiative.requires_approval else None),
            ("description", initiative.description),
            ("created", ago(initiative.created_at)),
            ("ended", ago(initiative.ended_at) if initiative.ended_at else None),
        )
    )
    say()
    print_phases(initiative.phases, "It has no phases yet.")


def print_phase_brief(brief: "PhaseBrief", *, as_json: bool) -> None:
    """How a phase stands after a command."""
    if as_json:
        print_json(brief)
    else:
        say(f"{brief.phase_id} is {standing(brief)}")


def print_initiative_brief(brief: "InitiativeBrief", *, as_json: bool) -> None:
    """How an initiative and its phases stand after a command."""
    if as_json:
        print_json(brief)
        return
    say(f"{brief.initiative_id} is {brief.status}")
    for phase in brief.phases:
        say(f"  {phase.phase_id} is {standing(phase)}")
