"""How a command reaches its hive: the options that every such command takes."""

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer

if TYPE_CHECKING:
    from hivewire.client import Client
    from hivewire.context import Context

P = ParamSpec("P")
PANEL = "Which hive"
PANELS = (
    HIVE := "The hive",
    TASKS := "Tasks",
    AGENTS := "Agents",
    PLANS := "Phases and initiatives",
    PEERS := "Conversations",
    REHEARSALS := "Simulations",
    HISTORY := "History",
    DOCUMENTS := "Descriptions for programs",
)
"""Under which headings the commands are listed, and in which order."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _option(flag: str, text: str) -> Any:
    return typer.Option(flag, help=text, rich_help_panel=PANEL, show_default=False)


OPTIONS = {
    "nats_url": (str, _option("--nats-url", "URLs of NATS, separated by commas. Else NATS_URL, else the local hive.")),
    "creds": (Path, _option("--creds", "Credentials file. Else NATS_CREDS, else the local operator's.")),
    "nats_ca": (Path, _option("--nats-ca", "CA of NATS' certificates. Else NATS_CA, else the system's.")),
    "nats_cert": (Path, _option("--nats-cert", "Certificate to show to NATS. Else NATS_CERT.")),
    "nats_key": (Path, _option("--nats-key", "Its key. Else NATS_KEY.")),
    "data": (Path, _option("--data", "Data directory of a `hivewire up`. Else HIVEWIRE_DATA.")),
    "hive_name": (str, _option("--hive", "Name of the hive. Else HIVEWIRE_HIVE.")),
    "config": (Path, _option("--config", "Configuration file. Else hivewire.yaml, if there is one.")),
}
VARIABLES = {
    "nats_url": "NATS_URL",
    "creds": "NATS_CREDS",
    "nats_ca": "NATS_CA",
    "nats_cert": "NATS_CERT",
    "nats_key": "NATS_KEY",
    "data": "HIVEWIRE_DATA",
    "hive_name": "HIVEWIRE_HIVE",
    "config": "HIVEWIRE_CONFIG",
}


def reaches(command: "Callable[Concatenate[Client, P], Awaitable[int | None]]") -> Callable[..., int | None]:
    """Make a command of a coroutine whose first parameter is a client of the hive."""

    async def connected(where: dict[str, Any], *arguments: Any, **options: Any) -> int | None:
        from hivewire.client import Client

        async with Client.connect(context=find(where)) as hive:
            return await command(hive, *arguments, **options)

    @located
    @wraps(command)
    def run(where: dict[str, Any], *arguments: Any, **options: Any) -> int | None:
        return asyncio.run(connected(where, *arguments, **options))

    return run


def reaches_as(command: "Callable[Concatenate[Client, P], Awaitable[int | None]]") -> Callable[..., int | None]:
    """The same for what an agent says under its own name, which its parameter `sender` gives."""

    async def connected(where: dict[str, Any], *arguments: Any, **options: Any) -> int | None:
        from hivewire.client import Client
        from hivewire.membership import join

        async with await join(find(where), options["sender"], "agent") as connection:
            hive = Client(connection)
            try:
                return await command(hive, *arguments, **options)
            finally:
                await hive.close()

    @located
    @wraps(command)
    def run(where: dict[str, Any], *arguments: Any, **options: Any) -> int | None:
        return asyncio.run(connected(where, *arguments, **options))

    return run


def located(command: Callable[Concatenate[dict[str, Any], P], int | None]) -> Callable[..., int | None]:
    """Give a command the options that say which hive is meant, but for names that it uses itself; its first parameter
    takes them."""
    signature = inspect.signature(command)
    _, *own = signature.parameters.values()
    given = [name for name in OPTIONS if name not in signature.parameters]

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> int | None:
        where = dict.fromkeys(OPTIONS) | {name: options.pop(name) for name in given}
        return command(where, *arguments, **options)

    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option])
        for name, (kind, option) in OPTIONS.items()
        if name in given
    ]
    run.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *shared)}
    return run


def find(where: dict[str, Any]) -> "Context":
    """The context of the hive that the options mean.

    Raises:
        NotReachable: none is named and none runs here.
        BadUsage: a named file is missing or malformed.
    """
    from hivewire.context import find_context

    return find_context(
        nats_url=where["nats_url"],
        nats_creds=str(where["creds"]) if where["creds"] else None,
        nats_ca=where["nats_ca"],
        nats_cert=where["nats_cert"],
        nats_key=where["nats_key"],
        data=where["data"],
        hive=where["hive_name"],
        config=where["config"],
    )


def export(where: dict[str, Any]) -> None:
    """Put the options into the environment, for code that finds the hive by itself."""
    for name, variable in VARIABLES.items():
        if where[name]:
            os.environ[variable] = str(where[name])
