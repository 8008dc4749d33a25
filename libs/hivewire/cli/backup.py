"""`hivewire backup` and `hivewire restore`."""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from hivewire.cli.installed import installed
from hivewire.cli.output import print_json, say
from hivewire.cli.reach import HIVE, AsJson, find, located
from hivewire.errors import BadUsage

DSN_VARIABLE = "HIVEWIRE_POSTGRES_DSN"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("backup", rich_help_panel=HIVE)(located(backup))
    app.command("restore", rich_help_panel=HIVE)(restore)


def backup(
    where: dict[str, Any],
    file: Annotated[Path, typer.Argument(help="Where to; a zip archive.", show_default=False)],
    *,
    as_json: AsJson = False,
) -> None:
    """Write everything that the hive knows to a file, while it works."""
    context = find(where)
    dsn = os.environ.get(DSN_VARIABLE) or context.postgres_dsn
    if dsn is None:
        raise BadUsage(f"where is the hive's Postgres? set {DSN_VARIABLE}")
    manifest = asyncio.run(installed("hivewire_service.backup").back_up(dsn, context.hive, file))
    _tell(manifest, f"{file} has", as_json=as_json)


def restore(
    file: Annotated[Path, typer.Argument(help="What `hivewire backup` wrote.", show_default=False)],
    *,
    data: Annotated[
        Path | None, typer.Option(help=f"Data directory of an `up` that does not run. Else {DSN_VARIABLE}.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a hive of a backup, where there is none of its name. Streams are rebuilt when its services start."""
    dsn = os.environ.get(DSN_VARIABLE)
    if (data is None) is (dsn is None):
        raise BadUsage(f"where to? name a data directory with --data, or a database with {DSN_VARIABLE}; one of them")
    manifest = asyncio.run(_restore(file, data, dsn))
    _tell(manifest, "restored", as_json=as_json)


async def _restore(file: Path, data: Path | None, dsn: str | None) -> Any:
    backups = installed("hivewire_service.backup")
    if data is None:
        return await backups.restore(dsn, file)
    embedded = installed("hivewire_service.embedded")
    async with embedded.Embedded(data) as servers:
        return await backups.restore(servers.postgres.dsn, file)


def _tell(manifest: Any, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(manifest)
        return
    rows = sum(table.rows for table in manifest.tables.values())
    taken = f"{manifest.taken_at.astimezone():%Y-%m-%d %H:%M:%S}"
    say(f"{what} hive {manifest.hive} as of {taken}: {rows} rows, {manifest.tables['task'].rows} tasks")
