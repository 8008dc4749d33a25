"""Simulations from Python: `hive.simulations`."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar

import msgspec

from hivewire import codec, limits, paging, reads
from hivewire.commands import tick_engine as commands
from hivewire.connection import Connection
from hivewire.errors import BadUsage
from hivewire.ids import new_id
from hivewire.simulation import TICKS_MAX, USER, Comparison, MessageView, SimulationBrief, SimulationView, Topology
from hivewire.subjects import TICK_ENGINE, token
from hivewire.views import EventView

T = TypeVar("T")

COMPARE_TIMEOUT_S = 600.0
"""A replay runs the whole history again."""
_LISTING = reads.Listing(limits.LIST_ITEMS_MAX)


class Simulations:
    """A hive's simulations. Every method raises RefusedError when the tick engine says no, NotReachable when it does not
    answer, and BadUsage when what is asked for cannot be written down."""

    def __init__(self, connection: Connection, timeout_s: float = limits.REQUEST_TIMEOUT_S) -> None:
        self._connection = connection
        self._timeout_s = timeout_s

    # --- life -----------------------------------------------------------------------------------------
    async def create(
        self, config: dict[str, Any], *, title: str | None = None, simulation_id: str | None = None
    ) -> SimulationBrief:
        """Make a simulation of a configuration: agents, graph, mode and so on."""
        body = {"title": title, **config, "simulation_id": _id(simulation_id or new_id())}
        return await self._command("create", _typed(body, commands.Create))

    async def configure(self, simulation_id: str, config: dict[str, Any]) -> SimulationBrief:
        """Replace the configuration; not once it was started."""
        return await self._command(
            "configure", _typed({**config, "simulation_id": _id(simulation_id)}, commands.Configure)
        )

    async def start(self, simulation_id: str) -> SimulationBrief:
        """Let it run, or go on."""
        return await self._command("start", commands.Start(_id(simulation_id)))

    async def pause(self, simulation_id: str) -> SimulationBrief:
        """Let it rest."""
        return await self._command("pause", commands.Pause(_id(simulation_id)))

    async def reset(self, simulation_id: str, *, keep_workflow: bool = True) -> SimulationBrief:
        """Begin a new run at tick 0, with the same configuration or with none."""
        return await self._command("reset", commands.Reset(_id(simulation_id), keep_workflow))

    async def tick(self, simulation_id: str, count: int = 1, expected_tick: int | None = None) -> SimulationBrief:
        """Do so many ticks, or fewer if the simulation completes. Each command names the tick that it expects, so that
        nobody else's ticks get in between.

        Returns:
            How it stands after the last one, with what all of them brought about.
        """
        total: SimulationBrief | None = None
        while total is None or (total.ticks < count and total.status == "running"):
            done = 0 if total is None else total.ticks
            expected = expected_tick if total is None else total.tick
            order = commands.Tick(_id(simulation_id), min(count - done, TICKS_MAX), expected)
            brief = await self._command("tick", order)
            if total is not None:
                brief.ticks += total.ticks
                brief.events += total.events
                brief.messages += total.messages
            total = brief
        return total

    async def fork(
        self,
        simulation_id: str,
        at: int,
        edit: dict[str, Any] | None = None,
        *,
        title: str | None = None,
        fork_id: str | None = None,
    ) -> SimulationBrief:
        """Make a simulation of what this one was right after a tick. `edit` says what is different: `reply` (dispatch_id,
        content, error), `add_edges`, `remove_edges`."""
        body = {
            "simulation_id": _id(simulation_id),
            "fork_id": _id(fork_id or new_id()),
            "at": at,
            "title": title,
            "edit": edit or {},
        }
        return await self._command("fork", _typed(body, commands.Fork))

    # --- what goes in ---------------------------------------------------------------------------------
    async def send(self, simulation_id: str, to: str, content: Any, sender: str = USER) -> SimulationBrief:
        """Hand in a message. The reply says for each target whether the graph lets it pass."""
        message = commands.Message(
            simulation_id=_id(simulation_id), sender=sender, target=to, content=codec.raw(content)
        )
        return await self._command("message", message)

    async def respond(
        self, simulation_id: str, dispatch_id: str, content: Any = None, *, error: str | None = None
    ) -> SimulationBrief:
        """Answer a dispatch in the name of its agent."""
        answer = commands.Respond(
            simulation_id=_id(simulation_id), dispatch_id=dispatch_id, content=codec.raw(content), error=error
        )
        return await self._command("respond", answer)

    # --- what is seen ---------------------------------------------------------------------------------
    def list(self, at_most: int | None = None) -> AsyncIterator[SimulationView]:
        """All simulations, newest first."""
        return paging.items(self._connection, TICK_ENGINE, "simulations", _LISTING, SimulationView, at_most)

    async def state(self, simulation_id: str) -> SimulationView:
        """A simulation with its agents."""
        return await self._read("simulation", reads.OneSimulation(_id(simulation_id)), SimulationView)

    def messages(self, query: reads.ListMessages, at_most: int | None = None) -> AsyncIterator[MessageView]:
        """The messages of the present run."""
        return paging.items(self._connection, TICK_ENGINE, "messages", query, MessageView, at_most)

    def events(self, query: reads.ListSimulationEvents, at_most: int | None = None) -> AsyncIterator[EventView]:
        """The events of the present run."""
        return paging.items(self._connection, TICK_ENGINE, "simulation_events", query, EventView, at_most)

    async def topology(self, simulation_id: str) -> Topology:
        """The graph, with what went over it."""
        return await self._read("topology", reads.OneSimulation(_id(simulation_id)), Topology)

    async def replay(self, simulation_id: str) -> Comparison:
        """Run the recorded run again, and compare."""
        return await self._read("replay", reads.OneSimulation(_id(simulation_id)), Comparison, COMPARE_TIMEOUT_S)

    async def diff(self, simulation_id: str, other_id: str) -> Comparison:
        """Compare two runs."""
        query = reads.TwoSimulations(_id(simulation_id), _id(other_id))
        return await self._read("diff", query, Comparison, COMPARE_TIMEOUT_S)

    # --- the line -------------------------------------------------------------------------------------
    async def _command(self, verb: str, data: object) -> SimulationBrief:
        return await self._connection.command(TICK_ENGINE, verb, data, SimulationBrief, timeout_s=self._timeout_s)

    async def _read(self, query: str, params: object, wanted: type[T], timeout_s: float | None = None) -> T:
        return await self._connection.read(TICK_ENGINE, query, params, wanted, timeout_s=timeout_s or self._timeout_s)


def _id(simulation_id: str) -> str:
    return token(simulation_id, "simulation id")


def _typed(body: dict[str, Any], kind: type[T]) -> T:
    given = {name: value for name, value in body.items() if value is not None}
    try:
        return msgspec.json.decode(msgspec.json.encode(given), type=kind)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise BadUsage(f"the simulation cannot be used: {error}") from error
