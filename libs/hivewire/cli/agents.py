"""Agents: running them, and looking after those that run."""

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hivewire.cli import parse
from hivewire.cli.output import Column, ago, collected, print_facts, print_json, print_table, say
from hivewire.cli.reach import AGENTS, AsJson, export, find, located, reaches
from hivewire.cli.tasks import Reason
from hivewire.errors import BadUsage

if TYPE_CHECKING:
    from hivewire.client import Client
    from hivewire.commands.agent_gateway import AgentBrief
    from hivewire.views import AgentView

AgentId = Annotated[str, typer.Argument(metavar="ID", help="The agent's id.", show_default=False)]

COLUMNS = (
    Column("AGENT"),
    Column("STATE"),
    Column("SLOTS", right=True),
    Column("SINCE"),
    Column("OWNER", spare=1),
    Column("CAN", fill=True),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("agents", rich_help_panel=AGENTS)(reaches(agents))
    group = typer.Typer(help="Run an agent, show or steer one.")
    group.command("run")(located(run))
    group.command("exec", context_settings={"allow_interspersed_args": False})(located(execute))
    for command in (show, drain, undrain, wake, remove):
        group.command(command.__name__)(reaches(command))
    app.add_typer(group, name="agent", rich_help_panel=AGENTS)


# --- running ----------------------------------------------------------------------------------------
def run(
    where: dict[str, Any],
    target: Annotated[str, typer.Argument(metavar="MODULE:NAME", help="Where the Agent is.", show_default=False)],
) -> None:
    """Run an agent that is written in Python, until Ctrl-C."""
    export(where)
    _load(target).run()


def _load(target: str) -> Any:
    from hivewire.agent import Agent

    module_name, colon, name = target.partition(":")
    if not colon or not module_name or not name:
        raise BadUsage(f"{target!r} does not name an agent: write MODULE:NAME, such as reviewers:agent")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0]:
            raise
        raise BadUsage(f"there is no module {module_name!r} here or in this Python's packages") from error
    agent = getattr(module, name, None)
    if not isinstance(agent, Agent):
        raise BadUsage(f"{name!r} in {module_name} is no hivewire.Agent")
    return agent


def execute(
    where: dict[str, Any],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="What is run.", show_default=False)],
    *,
    agent_id: Annotated[str, typer.Option("--id", help="The agent's id.")],
    can: Annotated[list[str] | None, typer.Option("--can", metavar="CAP", help="What it can; may be repeated.")] = None,
    slots: Annotated[int, typer.Option(min=1, help="How many tasks at a time.")] = 1,
    owner: Annotated[str | None, typer.Option(help="It gets only this owner's tasks.")] = None,
    on_demand: Annotated[bool, typer.Option("--on-demand", help="It is not always there.")] = False,
    wake: Annotated[
        str | None,
        typer.Option(metavar="URL|NAME", help="What starts it while it is away: a URL, or a command's name."),
    ] = None,
) -> None:
    """Make an agent of any command: one run for each task, until Ctrl-C.

    The command gets the task's JSON on stdin. Exit status 0 completes the task with what it wrote to stdout, 100 fails
    it for good, anything else fails the attempt. A line `::progress 0.4 text` on stderr reports progress.

    For example, an agent whose result is the task itself: hivewire agent exec --id echo --can echo -- cat
    """
    from hivewire.exec_agent import exec_agent

    exec_agent(
        agent_id,
        command,
        can=parse.capabilities(can),
        slots=slots,
        owner=owner,
        on_demand=on_demand,
        wake=wake,
        context=find(where),
    ).run()


# --- the registry -----------------------------------------------------------------------------------
async def agents(
    hive: "Client",
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """List the agents that the hive knows."""
    found = await collected(hive.agents(limit))
    if as_json:
        print_json(found)
        return
    rows = (
        (
            agent.agent_id,
            _state(agent),
            f"{agent.busy_slots}/{agent.slots}",
            ago(agent.changed_at),
            agent.owner,
            agent.capabilities,
        )
        for agent in found
    )
    print_table(COLUMNS, rows, "There are no agents yet: start one with `hivewire agent run` or `hivewire agent exec`.")


def _state(agent: "AgentView") -> str:
    return f"{agent.state}, drained" if agent.drained else agent.state


async def show(hive: "Client", agent_id: AgentId, *, as_json: AsJson = False) -> None:
    """Show an agent."""
    agent = await hive.agent(agent_id)
    if as_json:
        print_json(agent)
        return
    metadata = bytes(agent.metadata).decode()
    print_facts(
        (
            ("agent", agent.agent_id),
            ("name", agent.name if agent.name != agent.agent_id else None),
            ("state", _state(agent)),
            ("can", agent.capabilities),
            ("slots", f"{agent.busy_slots} of {agent.slots} busy"),
            ("owner", agent.owner),
            ("type", agent.agent_type),
            ("policy", agent.policy),
            ("wake", agent.wake),
            ("instance", agent.instance),
            ("labels", [f"{key}={value}" for key, value in agent.labels.items()]),
            ("metadata", None if metadata == "{}" else metadata),
            ("registered", ago(agent.registered_at)),
            ("changed", ago(agent.changed_at)),
        )
    )


async def drain(hive: "Client", agent_id: AgentId, *, as_json: AsJson = False) -> None:
    """Let an agent finish what it holds, and give it nothing new."""
    _print_brief(await hive.drain(agent_id), "is drained", as_json=as_json)


async def undrain(hive: "Client", agent_id: AgentId, *, as_json: AsJson = False) -> None:
    """Let an agent be given work again."""
    _print_brief(await hive.undrain(agent_id), "may be given work again", as_json=as_json)


async def wake(hive: "Client", agent_id: AgentId, *, reason: Reason = "", as_json: AsJson = False) -> None:
    """Start an agent that is away, in the way that its card says."""
    brief = await hive.wake(agent_id, reason)
    _print_brief(brief, "is there already" if brief.state == "present" else "is told to start", as_json=as_json)


async def remove(hive: "Client", agent_id: AgentId, *, as_json: AsJson = False) -> None:
    """Forget an agent. What it holds is given to others."""
    _print_brief(await hive.remove(agent_id), "is removed", as_json=as_json)


def _print_brief(brief: "AgentBrief", what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(brief)
    else:
        say(f"{brief.agent_id} {what}")
