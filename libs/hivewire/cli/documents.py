"""What programs read to learn what can be said to a hive: AsyncAPI of the bus, OpenAPI of the HTTP door."""

from typing import Annotated

import typer

from hivewire.cli.installed import installed
from hivewire.cli.output import print_json
from hivewire.cli.reach import DOCUMENTS


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("asyncapi", rich_help_panel=DOCUMENTS)(asyncapi)
    app.command("openapi", rich_help_panel=DOCUMENTS)(openapi)


def asyncapi(
    *,
    hive_name: Annotated[str, typer.Option("--hive", help="Name of the hive.", envvar="HIVEWIRE_HIVE")] = "hive",
) -> None:
    """Print the AsyncAPI document of everything on the bus: events, commands, inboxes."""
    from hivewire.asyncapi import document

    print_json(document(hive_name))


def openapi() -> None:
    """Print the OpenAPI document of the HTTP API, which a door serves at /openapi.json."""
    door = "hivewire_agent_gateway.door"
    print_json(installed(f"{door}.openapi").document(installed(f"{door}.routes").ROUTES))
