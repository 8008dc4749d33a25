"""Tokens and credentials for members of the hive."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hivewire.cli import parse
from hivewire.cli.output import Column, ago, print_json, print_table, say
from hivewire.cli.reach import HIVE, AsJson, reaches
from hivewire.errors import BadUsage, HivewireError

if TYPE_CHECKING:
    from hivewire.client import Client


COLUMNS = (Column("NAME"), Column("ROLE"), Column("CREATED"), Column("EXPIRES"), Column("REVOKED"))
TOKEN_BLOCK = """
-----BEGIN HIVEWIRE TOKEN-----
{}
------END HIVEWIRE TOKEN------
"""  # noqa: S105 - a frame, not a token
"""For HTTP: `Authorization: Bearer <token>`. NATS clients skip it in a credentials file."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Tokens for agents, publishers and operators.")
    for command in (create, revoke):
        group.command(command.__name__)(reaches(command))
    group.command("list")(reaches(listing))
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
    """Make a token for HTTP with NATS credentials of the same name: whoever has them speaks under it."""
    from hivewire.admin import CreateToken
    from hivewire.private_file import write_private
    from hivewire.subjects import AGENT_GATEWAY, token
    from hivewire.views import NewToken

    wanted = CreateToken(token(name, "name"), role, parse.span_s(expires) if expires else None)
    made = await hive.connection.admin(AGENT_GATEWAY, "create_token", wanted, NewToken)
    text = (made.creds or "") + TOKEN_BLOCK.format(made.token)
    if out is not None:
        try:
            write_private(out, text)
        except OSError as error:
            raise BadUsage(f"cannot write {out}: {error.strerror}") from error
        say(f"token and credentials of {made.role} {made.name} are in {out}")
    elif as_json:
        print_json(made)
    else:
        say(text.rstrip("\n"))


async def listing(hive: "Client", *, as_json: AsJson = False) -> None:
    """List the tokens, without the tokens themselves."""
    from hivewire.admin import ListTokens
    from hivewire.limits import LIST_ITEMS_MAX
    from hivewire.paging import PageOf, items_by
    from hivewire.subjects import AGENT_GATEWAY
    from hivewire.views import TokenView

    async def ask(asked: ListTokens) -> PageOf[TokenView]:
        return await hive.connection.admin(AGENT_GATEWAY, "tokens", asked, PageOf[TokenView])

    found = [one async for one in items_by(ask, ListTokens(LIST_ITEMS_MAX))]
    if as_json:
        print_json(found)
        return
    rows = ((one.name, one.role, ago(one.created_at), ago(one.expires_at), ago(one.revoked_at)) for one in found)
    print_table(COLUMNS, rows, "There are no tokens yet: make one with `hivewire token create`.")


async def revoke(
    hive: "Client",
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose tokens.", show_default=False)],
    *,
    as_json: AsJson = False,
) -> None:
    """Let no token and no NATS credentials of a name be good any more, and cut whoever is connected by them."""
    from hivewire.admin import RevokeTokens
    from hivewire.subjects import AGENT_GATEWAY
    from hivewire.views import RevokedTokens

    revoked = await hive.connection.admin(AGENT_GATEWAY, "revoke_token", RevokeTokens(name), RevokedTokens)
    if as_json:
        print_json(revoked)
    elif revoked.nats:
        say(f"{name} is cut: its NATS credentials are revoked, and {revoked.revoked} of its tokens")
    if not revoked.nats:
        raise HivewireError(
            f"{revoked.revoked} tokens of {name} are revoked, its NATS credentials are not and hold until they expire: "
            "start the agent gateway with HIVEWIRE_AUTHORITY_FILE"
        )
