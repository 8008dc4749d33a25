"""Simulations: rehearsing a fleet tick by tick."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from hivewire import exit_codes
from hivewire.cli import parse
from hivewire.cli.output import Column, ago, as_text, clean, collected, cut, print_facts, print_json, print_table, say
from hivewire.cli.reach import REHEARSALS, AsJson, reaches
from hivewire.errors import BadUsage

if TYPE_CHECKING:
    from hivewire.client import Client
    from hivewire.simulation import Comparison, SimulationBrief, SimulationView
    from hivewire.views import EventView

SimulationId = Annotated[str, typer.Argument(metavar="ID", help="The simulation's id.", show_default=False)]
Limit = Annotated[int, typer.Option(min=1, help="How many at most.")]
DATA_CHARS_MAX = 160

COLUMNS = (
    Column("SIMULATION"),
    Column("STATUS"),
    Column("TICK", right=True),
    Column("MESSAGES", right=True, spare=1),
    Column("CHANGED"),
    Column("TITLE", fill=True),
)
AGENT_COLUMNS = (
    Column("AGENT"),
    Column("ROLE"),
    Column("TYPE"),
    Column("CONNECTION"),
    Column("STATUS"),
    Column("DISPATCHES", fill=True),
)
MESSAGE_COLUMNS = (
    Column("MESSAGE"),
    Column("TICK", right=True),
    Column("FROM"),
    Column("TO"),
    Column("STATUS"),
    Column("CONTENT", fill=True),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Rehearse a fleet: who may talk to whom, and what comes of it, tick by tick.")
    group.command("list")(reaches(simulations))
    for command in (
        create,
        configure,
        start,
        tick,
        pause,
        reset,
        state,
        send,
        respond,
        messages,
        events,
        replay,
        fork,
        diff,
        graph,
    ):
        group.command(command.__name__)(reaches(command))
    app.add_typer(group, name="sim", rich_help_panel=REHEARSALS)


# --- life -------------------------------------------------------------------------------------------
async def create(
    hive: "Client",
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Its configuration: JSON or YAML.", show_default=False)],
    *,
    title: Annotated[str | None, typer.Option(help="What it is called.")] = None,
    simulation_id: Annotated[str | None, typer.Option("--id", help="Its id; the same again is the same.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a simulation of a file: agents, graph, mode, messages."""
    brief = await hive.simulations.create(_document(file), title=title or file.stem, simulation_id=simulation_id)
    if as_json:
        print_json(brief)
    else:
        say(brief.simulation_id)


async def configure(
    hive: "Client",
    simulation_id: SimulationId,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Its configuration: JSON or YAML.", show_default=False)],
    *,
    as_json: AsJson = False,
) -> None:
    """Give another configuration to a simulation that was not started, or was reset."""
    _print_brief(await hive.simulations.configure(simulation_id, _document(file)), as_json=as_json)


async def start(hive: "Client", simulation_id: SimulationId, *, as_json: AsJson = False) -> None:
    """Let a simulation run, or go on after a pause."""
    _print_brief(await hive.simulations.start(simulation_id), as_json=as_json)


async def tick(
    hive: "Client",
    simulation_id: SimulationId,
    count: Annotated[str, typer.Argument(metavar="[N]", help="How many ticks.", show_default=False)] = "1",
    *,
    as_json: AsJson = False,
) -> None:
    """Do one tick, or N."""
    if simulation_id.isdecimal() and not count.isdecimal():
        simulation_id, count = count, simulation_id  # `tick 5 ID` reads as well as `tick ID 5`
    if not count.isdecimal() or int(count) < 1:
        raise BadUsage(f"{count!r} is no number of ticks: write 1 or more")
    _print_brief(await hive.simulations.tick(simulation_id, int(count)), as_json=as_json)


async def pause(hive: "Client", simulation_id: SimulationId, *, as_json: AsJson = False) -> None:
    """Let a simulation rest as it is."""
    _print_brief(await hive.simulations.pause(simulation_id), as_json=as_json)


async def reset(
    hive: "Client",
    simulation_id: SimulationId,
    *,
    drop_workflow: Annotated[bool, typer.Option("--drop-workflow", help="Forget the configuration too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Begin again at tick 0."""
    brief = await hive.simulations.reset(simulation_id, keep_workflow=not drop_workflow)
    _print_brief(brief, as_json=as_json)


async def fork(
    hive: "Client",
    simulation_id: SimulationId,
    *,
    at: Annotated[int, typer.Option(min=0, help="After which tick.", show_default=False)],
    edit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What is different: reply, add_edges, remove_edges.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Go on from a tick, with one reply or some edges changed. The fork is paused."""
    brief = await hive.simulations.fork(simulation_id, at, _document(edit) if edit else None)
    if as_json:
        print_json(brief)
    else:
        say(brief.simulation_id)


# --- what goes in -----------------------------------------------------------------------------------
async def send(
    hive: "Client",
    simulation_id: SimulationId,
    content: Annotated[str, typer.Argument(help="A text, or JSON as @FILE or - for stdin.", show_default=False)],
    *,
    to: Annotated[str, typer.Option(metavar="AGENT", help="Who gets it; * is everybody.")],
    sender: Annotated[str, typer.Option("--from", metavar="AGENT", help="Whose message it is.")] = "user",
    as_json: AsJson = False,
) -> int:
    """Hand in a message; it is delivered by a tick."""
    said = parse.payload(content) if content == "-" or content.startswith("@") else content
    brief = await hive.simulations.send(simulation_id, to, said, sender)
    if as_json:
        print_json(brief)
    else:
        for sent in brief.sent:
            say(f"{sent.message_id} to {sent.target}: {'waits' if sent.allowed else f'blocked, {sent.reason}'}")
    return exit_codes.DONE if all(sent.allowed for sent in brief.sent) else exit_codes.REFUSED


async def respond(
    hive: "Client",
    simulation_id: SimulationId,
    dispatch_id: Annotated[str, typer.Argument(metavar="DISPATCH", help="Such as d1.", show_default=False)],
    content: Annotated[str, typer.Argument(help="The answer, or with --error what went wrong.", show_default=False)],
    *,
    error: Annotated[bool, typer.Option("--error", help="The agent failed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer a dispatch in the name of its remote agent; a tick takes it up."""
    if error:
        brief = await hive.simulations.respond(simulation_id, dispatch_id, error=content)
    else:
        brief = await hive.simulations.respond(simulation_id, dispatch_id, content)
    _print_brief(brief, as_json=as_json)


# --- what is seen -----------------------------------------------------------------------------------
async def simulations(hive: "Client", *, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List the simulations, newest first."""
    found = await collected(hive.simulations.list(limit))
    if as_json:
        print_json(found)
        return
    rows = ((s.simulation_id, s.status, s.tick, s.messages, ago(s.updated_at), s.title) for s in found)
    print_table(COLUMNS, rows, "There are no simulations yet: make one with `hivewire sim create FILE`.")


async def state(hive: "Client", simulation_id: SimulationId, *, as_json: AsJson = False) -> None:
    """Show how a simulation and its agents stand."""
    found = await hive.simulations.state(simulation_id)
    if as_json:
        print_json(found)
    else:
        _print_state(found)


def _print_state(found: "SimulationView") -> None:
    forked = f"{found.forked_from}, after tick {found.forked_at}" if found.forked_from else None
    budget = f" of {found.tick_budget}" if found.tick_budget else ""
    print_facts(
        (
            ("simulation", found.simulation_id),
            ("title", found.title if found.title != found.simulation_id else None),
            ("status", found.status),
            ("mode", found.mode),
            ("tick", f"{found.tick}{budget}"),
            ("run", found.run if found.run > 1 else None),
            ("messages", f"{found.messages}, {found.waiting} waiting"),
            ("state hash", found.state_hash),
            ("forked from", forked),
            ("changed", ago(found.updated_at)),
        )
    )
    say()
    rows = (
        (agent.id, agent.role, agent.agent_type, agent.connection, agent.status, ", ".join(agent.dispatches) or None)
        for agent in found.agents
    )
    print_table(AGENT_COLUMNS, rows, "It has no agents yet.")


async def messages(
    hive: "Client",
    simulation_id: SimulationId,
    *,
    agent: Annotated[str | None, typer.Option(help="Only from or to this agent.")] = None,
    status: Annotated[str | None, typer.Option(help="waiting, delivered, dispatched, blocked ...")] = None,
    limit: Limit = 1000,
    as_json: AsJson = False,
) -> None:
    """List the messages of the present run, in the order of their sending."""
    from hivewire import limits, reads

    query = reads.ListMessages(
        simulation_id=simulation_id, agent_id=agent, status=status, limit=min(limit, limits.LIST_ITEMS_MAX)
    )
    found = await collected(hive.simulations.messages(query, limit))
    if as_json:
        print_json(found)
        return
    rows = ((m.message_id, m.sent_tick, m.sender, m.target, m.status, m.reason or _content(m.content)) for m in found)
    print_table(MESSAGE_COLUMNS, rows, "No message was sent that fits.")


async def events(
    hive: "Client",
    simulation_id: SimulationId,
    *,
    kind: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Such as message.sent.")] = None,
    at: Annotated[int | None, typer.Option("--tick", min=0, help="Only of this tick.")] = None,
    since: Annotated[int | None, typer.Option("--tick-min", min=0, help="Only from this tick on.")] = None,
    until: Annotated[int | None, typer.Option("--tick-max", min=0, help="Only up to this tick.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only of this agent.")] = None,
    limit: Limit = 1000,
    as_json: AsJson = False,
) -> None:
    """List the events of the present run, in order."""
    from hivewire import limits, reads

    query = reads.ListSimulationEvents(
        simulation_id=simulation_id,
        event_type=kind,
        tick_index=at,
        tick_min=since,
        tick_max=until,
        agent_id=agent,
        limit=min(limit, limits.LIST_ITEMS_MAX),
    )
    found = await collected(hive.simulations.events(query, limit))
    if as_json:
        print_json(found)
    elif not found:
        say("Nothing has happened that fits.")
    else:
        for event in found:
            say(_event_line(event))


def _event_line(event: "EventView") -> str:
    data = msgspec.json.decode(event.data, type=dict[str, msgspec.Raw])
    data.pop("simulation_id")
    number = _content(data.pop("tick"))
    told = " ".join(f"{name}={_content(value)}" for name, value in data.items())
    return f"{number:>6}  {event.type:<24}  {cut(clean(told), DATA_CHARS_MAX)}"


def _content(content: msgspec.Raw) -> str:
    return as_text(msgspec.json.decode(content))


# --- comparing --------------------------------------------------------------------------------------
async def replay(hive: "Client", simulation_id: SimulationId, *, as_json: AsJson = False) -> int:
    """Run a recorded simulation again, and name the first tick that differs."""
    return _print_comparison(await hive.simulations.replay(simulation_id), ("recorded", "replayed"), as_json=as_json)


async def diff(
    hive: "Client",
    one: Annotated[str, typer.Argument(metavar="A", help="A simulation's id.", show_default=False)],
    other: Annotated[str, typer.Argument(metavar="B", help="Another's.", show_default=False)],
    *,
    as_json: AsJson = False,
) -> int:
    """Compare two runs, as far as both go."""
    return _print_comparison(await hive.simulations.diff(one, other), (one, other), as_json=as_json)


def _print_comparison(found: "Comparison", names: tuple[str, str], *, as_json: bool) -> int:
    if as_json:
        print_json(found)
    elif found.difference is None:
        say(f"The same: {found.ticks} ticks, {found.events} events.")
    else:
        difference = found.difference
        say(f"Tick {difference.tick} differs, at its event {difference.position + 1}.")
        sides = zip(names, (difference.one, difference.other), strict=True)
        print_facts(
            (name, f"{event.type} {bytes(event.data).decode()}" if event else "nothing") for name, event in sides
        )
    return exit_codes.DONE if found.same else exit_codes.WORK_FAILED


# --- drawing ----------------------------------------------------------------------------------------
async def graph(
    hive: "Client",
    simulation_id: SimulationId,
    *,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Write an SVG picture there; - is stdout.")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw the topology with its traffic and what was blocked."""
    from hivewire import drawing

    topology = await hive.simulations.topology(simulation_id)
    if as_json:
        print_json(topology)
    elif svg is None:
        for line in drawing.lines(topology):
            say(line)
    elif str(svg) == "-":
        say(drawing.svg(topology))
    else:
        try:
            svg.write_text(drawing.svg(topology))
        except OSError as error:
            raise BadUsage(f"cannot write {svg}: {error.strerror}") from error


def _document(file: Path) -> dict[str, Any]:
    """A JSON or YAML file that holds one object."""
    import yaml

    body = parse.source(f"@{file}")
    try:
        found = yaml.safe_load(body) if file.suffix in {".yaml", ".yml"} else msgspec.json.decode(body)
    except (msgspec.MsgspecError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadUsage(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise BadUsage(f'{file} holds no object: write {{"agents": [...], "graph": ...}}')
    return found


def _print_brief(brief: "SimulationBrief", *, as_json: bool) -> None:
    if as_json:
        print_json(brief)
        return
    done = f"; {brief.ticks} done, {brief.events} events, {brief.messages} messages delivered" if brief.ticks else ""
    say(f"{brief.simulation_id} is {brief.status} at tick {brief.tick}, {brief.waiting} waiting{done}")
