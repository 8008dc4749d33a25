"""Credentials for members of the hive."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hivewire.cli import parse
from hivewire.cli.output import print_json, say
from hivewire.cli.reach import HIVE, AsJson, reaches
from hivewire.errors import BadUsage

if TYPE_CHECKING:
    from hivewire.client import Client


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Credentials for agents, publishers and operators.")
    group.command("create")(reaches(create))
    app.add_typer(group, name="token", rich_help_panel=HIVE)


async def create(
    hive: "Client",
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who it is for: an agent's id, say.", show_default=False)],
    *,
    role: Annotated[Literal["agent", "publisher", "operator"], typer.Option(help="What it allows.")] = "agent",
    expires: Annotated[str | None, typer.Option(metavar="30d", help="When it ends. Else never.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there, for you alone to read.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make NATS credentials and print them: whoever has them speaks under this name."""
    from hivewire.membership import issue
    from hivewire.private_file import write_private

    issued = await issue(hive.connection, name, role, parse.span_s(expires) if expires else None)
    if out is not None:
        try:
            write_private(out, issued.creds)
        except OSError as error:
            raise BadUsage(f"cannot write {out}: {error.strerror}") from error
        say(f"credentials of {issued.role} {issued.name} are in {out}")
    elif as_json:
        print_json(issued)
    else:
        say(issued.creds.rstrip("\n"))
