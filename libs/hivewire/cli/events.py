"""The history, and messages that could not be taken."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from hivewire.cli import parse
from hivewire.cli.output import Column, ago, collected, print_facts, print_json, print_json_line, print_table, say
from hivewire.cli.reach import HISTORY, AsJson, reaches
from hivewire.cli.render import event_line
from hivewire.cli.show_group import ShowGroup
from hivewire.cli.tasks import Limit

if TYPE_CHECKING:
    from hivewire.client import Client


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=ShowGroup, help="The history: what happened, and events from outside.")
    group.command("show")(reaches(events))
    group.command("publish")(reaches(publish))
    app.add_typer(group, name="events", rich_help_panel=HISTORY)
    app.command("rejects", rich_help_panel=HISTORY)(reaches(rejects))


async def events(
    hive: "Client",
    *,
    kind: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Such as task.completed, or task for all of tasks.")
    ] = None,
    entity: Annotated[str | None, typer.Option(metavar="ID", help="Only of this task or agent.")] = None,
    since: Annotated[str | None, typer.Option(metavar="1h|TIME", help="Only from then on.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens.")] = False,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Show the history, oldest first; without --since its latest part."""
    from hivewire import history, limits, reads

    start = parse.moment(since) if since else None
    query = reads.ListEvents(type=kind, entity_id=entity, since=start, limit=limits.LIST_ITEMS_MAX)
    if follow:
        query.since = start or datetime.now(UTC)
        async for event in history.follow(hive.connection, query):
            if as_json:
                print_json_line(event)
            else:
                say(event_line(event, with_entity=True), at_once=True)
        return
    query.newest_first = start is None
    found = await collected(history.stored(hive.connection, query, limit))
    if query.newest_first:
        found.reverse()
    if as_json:
        print_json(found)
    elif not found:
        say("Nothing has happened that fits.")
    else:
        for event in found:
            say(event_line(event, with_entity=True))


async def publish(
    hive: "Client",
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="Such as merge.completed.", show_default=False)],
    *,
    data: Annotated[str, typer.Option(metavar="JSON", help="The event's fields; @FILE or - for stdin.")] = "{}",
    event_id: Annotated[str | None, typer.Option("--id", help="Your own id: the same again is the same event.")] = None,
    entity: Annotated[
        str | None, typer.Option(metavar="ID", help="What an event of a type of your own is about.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish an event of another service's or of an agent."""
    published = await hive.publish(kind, parse.payload(data), id=event_id, entity_id=entity)
    if as_json:
        print_json(published)
    else:
        say(f"{published.event_id} is {'recorded' if published.recorded else 'in history already'}")


async def rejects(
    hive: "Client",
    reject_id: Annotated[int | None, typer.Argument(metavar="[ID]", help="One of them, whole.")] = None,
    *,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List the messages that could not be taken, newest first, or show one."""
    if reject_id is not None:
        found = await hive.rejected_message(reject_id)
        if as_json:
            print_json(found)
        else:
            print_facts(
                (
                    ("reject", found.reject_id),
                    ("service", found.service),
                    ("subject", found.subject),
                    ("sender", found.sender),
                    ("messages", found.count),
                    ("rejected", ago(found.rejected_at)),
                    ("last", ago(found.last_at)),
                    ("reason", found.reason),
                    (f"body ({found.encoding})", found.body),
                )
            )
        return
    listed = await collected(hive.rejects(limit))
    if as_json:
        print_json(listed)
        return
    columns = (
        Column("REJECT", right=True),
        Column("REJECTED"),
        Column("TIMES", right=True),
        Column("SENDER", spare=1),
        Column("SUBJECT", spare=2),
        Column("REASON", fill=True),
    )
    rows = (
        (item.reject_id, ago(item.rejected_at), item.count, item.sender, item.subject, item.reason) for item in listed
    )
    print_table(columns, rows, "No message was rejected.")
