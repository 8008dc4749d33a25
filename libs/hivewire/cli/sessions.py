"""Sessions of remote agents."""

from typing import TYPE_CHECKING, Annotated

import typer

from hivewire import exit_codes, limits
from hivewire.cli import parse
from hivewire.cli.output import Column, ago, as_text, collected, complain, print_facts, print_json, print_table, say
from hivewire.cli.reach import AGENTS, AsJson, reaches
from hivewire.cli.show_group import ShowGroup
from hivewire.errors import BadUsage

if TYPE_CHECKING:
    import msgspec

    from hivewire.client import Client
    from hivewire.views import SessionView

SessionId = Annotated[str, typer.Argument(metavar="ID", help="The session's id.", show_default=False)]

COLUMNS = (
    Column("SESSION"),
    Column("STATE"),
    Column("AGENT"),
    Column("FOR", spare=1),
    Column("SINCE", spare=2),
    Column("ERROR", fill=True),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    many = typer.Typer(cls=ShowGroup, help="Dispatches to remote agents: list them, or dispatch a file of them.")
    many.command("show", hidden=True)(reaches(listing))
    many.command("dispatch")(reaches(dispatch))
    app.add_typer(many, name="sessions", rich_help_panel=AGENTS)
    one = typer.Typer(cls=ShowGroup, help="Show a session, or give it up.")
    one.command("show", hidden=True)(reaches(show))
    one.command("cancel")(reaches(cancel))
    app.add_typer(one, name="session", rich_help_panel=AGENTS)


async def listing(
    hive: "Client",
    *,
    state: Annotated[list[str] | None, typer.Option(help="Only in this state; may be repeated.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only this agent's.")] = None,
    ref: Annotated[str | None, typer.Option("--ref", help="Only with this external reference.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List sessions, newest first."""
    from hivewire import sessions
    from hivewire.reads import ListSessions

    query = ListSessions(state=state or [], agent=agent, external_ref=ref, limit=min(limit, limits.LIST_ITEMS_MAX))
    found = await collected(sessions.listing(hive.connection, query, limit))
    if as_json:
        print_json(found)
        return
    rows = (
        (
            one.session_id,
            one.state,
            one.agent_id,
            _purpose(one),
            ago(one.created_at),
            (one.error or "").partition("\n")[0],
        )
        for one in found
    )
    print_table(COLUMNS, rows, "There are no sessions.")


def _purpose(session: "SessionView") -> str | None:
    if session.task_id:
        return f"task {session.task_id}"
    return session.external_ref or session.simulation_id


async def show(hive: "Client", session_id: SessionId, *, as_json: AsJson = False) -> None:
    """Show a session."""
    from hivewire import sessions

    session = await sessions.show(hive.connection, session_id)
    if as_json:
        print_json(session)
        return
    print_facts(
        (
            ("session", session.session_id),
            ("state", session.state),
            ("agent", session.agent_id),
            ("for", _purpose(session)),
            ("attempt", session.attempt or None),
            ("progress", session.progress_text),
            ("error", session.error),
            ("created", ago(session.created_at)),
            ("ended", ago(session.ended_at) if session.ended_at else None),
            ("content", _text(session.content)),
            ("response", _text(session.response)),
        )
    )


def _text(value: "msgspec.Raw") -> str | None:
    import msgspec

    decoded = msgspec.json.decode(value)
    return None if decoded is None else as_text(decoded)


async def cancel(
    hive: "Client",
    session_id: SessionId,
    *,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    as_json: AsJson = False,
) -> None:
    """Give a session up; its agent is told."""
    from hivewire import sessions

    brief = await sessions.cancel(hive.connection, session_id, reason)
    if as_json:
        print_json(brief)
    else:
        say(f"{brief.session_id} is {brief.state}")


async def dispatch(
    hive: "Client",
    *,
    batch: Annotated[str, typer.Option("--batch", metavar="FILE", help="One session a line; - is stdin.")],
    max_concurrent: Annotated[
        int, typer.Option("--max", min=1, max=limits.SESSIONS_OPEN_MAX, help="How many are open at a time.")
    ] = limits.SESSIONS_CONCURRENT,
    as_json: AsJson = False,
) -> int:
    """Dispatch a file of sessions. A bad line is named, the rest go in."""
    from hivewire import sessions

    numbered, bad = {}, 0
    for number, line in enumerate(parse.source(batch if batch == "-" else f"@{batch}").splitlines(), 1):
        if not line.strip():
            continue
        try:
            numbered[number] = sessions.from_line(line)
        except BadUsage as error:
            bad += 1
            complain(f"line {number}: {error}")
    items = await sessions.dispatch_batch(hive.connection, numbered.values(), max_concurrent)
    refused = [(number, item.error) for number, item in zip(numbered, items, strict=True) if item.error]
    for number, reason in refused:
        complain(f"line {number}: {reason}")
    if as_json:
        print_json(items)
    else:
        say(f"{len(items) - len(refused)} dispatched" + (f", {len(refused) + bad} refused" if refused or bad else ""))
    return exit_codes.WORK_FAILED if refused or bad else exit_codes.DONE
