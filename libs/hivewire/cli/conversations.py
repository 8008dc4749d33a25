"""Asking agents, answering them, and saying who may talk to whom."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
import typer

from hivewire.cli import parse
from hivewire.cli.output import (
    Column,
    ago,
    as_text,
    clean,
    collected,
    print_facts,
    print_json,
    print_json_line,
    print_table,
    say,
)
from hivewire.cli.reach import PEERS, AsJson, reaches, reaches_as
from hivewire.cli.show_group import ShowGroup
from hivewire.cli.tasks import Limit
from hivewire.errors import BadUsage

if TYPE_CHECKING:
    from hivewire.client import Client
    from hivewire.views import ConversationView

T = TypeVar("T")

As = Annotated[str, typer.Option("--as", metavar="ID", help="The agent that speaks.", show_default=False)]
To = Annotated[
    str, typer.Option("--to", metavar="agent:ID|task:ID|phase:ID", help="Whom it is for.", show_default=False)
]
Text = Annotated[str, typer.Argument(metavar="TEXT", help="What is said; @FILE or - for stdin.", show_default=False)]
ConversationId = Annotated[
    str, typer.Argument(metavar="CONVERSATION_ID", help="The question's id.", show_default=False)
]

COLUMNS = (
    Column("CONVERSATION"),
    Column("STATE"),
    Column("ASKER"),
    Column("ASKED"),
    Column("WHEN", spare=1),
    Column("QUESTION", fill=True),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (ask, listen, answer, withdraw, message):
        app.command(command.__name__, rich_help_panel=PEERS)(reaches_as(command))
    app.command("conversations", rich_help_panel=PEERS)(reaches(conversations))
    group = typer.Typer(cls=ShowGroup, help="Who may talk to whom in the live hive.")
    group.command("show", hidden=True)(reaches(show_graph))
    group.command("set")(reaches(set_graph))
    group.command("clear")(reaches(clear_graph))
    app.add_typer(group, name="graph", rich_help_panel=PEERS)


async def ask(
    hive: "Client",
    question: Text,
    *,
    sender: As,
    to: To,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", min=0.001, metavar="S", help="Seconds. Else five minutes.")
    ] = None,
    thread: Annotated[
        str | None, typer.Option(metavar="CONVERSATION_ID", help="The conversation that this follows up.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask an agent, wait, and print its answer.

    Within a task's command the task's attempt is paused meanwhile.
    """
    from hivewire import limits

    del sender
    found = await hive.ask(
        parse.target(to),
        parse.content(question),
        timeout_s=limits.ANSWER_TIMEOUT_S if timeout_s is None else timeout_s,
        thread=thread,
        attempt=_own_attempt(),
    )
    if as_json:
        print_json(await hive.conversation(found.conversation_id))
    else:
        say(found.text)


def _own_attempt() -> tuple[str, int] | None:
    """The attempt whose command runs us."""
    task_id, attempt = os.environ.get("HIVEWIRE_TASK_ID"), os.environ.get("HIVEWIRE_ATTEMPT", "")
    return (task_id, int(attempt)) if task_id and attempt.isdecimal() else None


async def listen(hive: "Client", *, sender: As, as_json: AsJson = False) -> None:
    """Print the questions and messages for an agent as they come, those that wait first."""
    from hivewire.inbox import QuestionAsked
    from hivewire.listening import heard

    async for item in heard(hive, sender):
        if as_json:
            print_json_line(item)
        elif isinstance(item, QuestionAsked):
            say(clean(f"{item.conversation_id}  {item.asker} asks: {_shown(item.question)}"), at_once=True)
        else:
            say(clean(f"{item.sender} says: {_shown(item.content)}"), at_once=True)


async def answer(
    hive: "Client", conversation_id: ConversationId, text: Text, *, sender: As, as_json: AsJson = False
) -> None:
    """Answer a question that was put to an agent."""
    del sender
    _print(await hive.answer(conversation_id, parse.content(text)), as_json=as_json)


async def withdraw(
    hive: "Client",
    conversation_id: ConversationId,
    *,
    sender: As,
    reason: Annotated[str, typer.Option(help="Why, for the history.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """Give up a question of an agent's own."""
    del sender
    _print(await hive.withdraw(conversation_id, reason), as_json=as_json)


async def message(hive: "Client", text: Text, *, sender: As, to: To, as_json: AsJson = False) -> None:
    """Say something to an agent without expecting an answer."""
    del sender
    sent = await hive.message(parse.target(to), parse.content(text))
    if as_json:
        print_json(sent)
    else:
        say(f"{sent.message_id} is sent to {sent.agent_id}")


async def conversations(
    hive: "Client",
    *,
    asker: Annotated[str | None, typer.Option(metavar="ID", help="Only this agent's questions.")] = None,
    agent: Annotated[str | None, typer.Option(metavar="ID", help="Only questions to this agent.")] = None,
    thread: Annotated[str | None, typer.Option(metavar="ID", help="Only of this thread.")] = None,
    state: Annotated[list[str] | None, typer.Option("--state", help="Only these; may be repeated.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List questions, newest first."""
    from hivewire import limits, reads

    query = reads.ListConversations(
        asker=asker, agent=agent, thread=thread, state=state or [], limit=limits.LIST_ITEMS_MAX
    )
    found = await collected(hive.conversations(query, limit))
    if as_json:
        print_json(found)
        return
    rows = (
        (item.conversation_id, item.state, item.asker, item.agent_id, ago(item.asked_at), _shown(item.question))
        for item in found
    )
    print_table(COLUMNS, rows, "There are no such conversations.")


def _shown(content: msgspec.Raw) -> str:
    return as_text(msgspec.json.decode(content))


def _print(view: "ConversationView", *, as_json: bool) -> None:
    if as_json:
        print_json(view)
    else:
        say(f"{view.conversation_id} is {view.state}")


async def show_graph(hive: "Client", *, as_json: AsJson = False) -> None:
    """Show who may talk to whom."""
    found = await hive.graph()
    if as_json:
        print_json(found)
    elif not found.set:
        say("There is no graph: everybody may talk to everybody.")
    else:
        print_facts((node.id, node.role or "-") for node in found.nodes)
        for edge in found.edges:
            arrow = "<->" if edge.bidirectional else "->"
            say(clean(f"{edge.source} {arrow} {edge.target}  {edge.label or ''}").rstrip())


async def set_graph(
    hive: "Client",
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The graph as JSON or YAML.", show_default=False)],
) -> None:
    """Let only those talk whom the graph in FILE joins."""
    from hivewire.graph import GraphSpec

    graph = await asyncio.to_thread(read_file, file, GraphSpec)
    await hive.set_graph(graph)
    say(f"the graph of {len(graph.nodes)} nodes and {len(graph.edges)} edges is set")


def read_file(file: Path, kind: type[T]) -> T:
    """A struct from a file of JSON or YAML.

    Raises:
        BadUsage: the file cannot be read, or holds something else.
    """
    import yaml

    try:
        return msgspec.convert(yaml.safe_load(file.read_text()), kind)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise BadUsage(f"cannot use {file}: {' '.join(str(error).split())}") from error


async def clear_graph(hive: "Client") -> None:
    """Let everybody talk to everybody."""
    await hive.clear_graph()
    say("everybody may talk to everybody")
