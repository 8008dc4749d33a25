"""Rehearsals with real agents, as tests of the tick engine see them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from hivewire import Agent, Client, sessions
from hivewire.context import Context
from hivewire.errors import RefusedError
from hivewire.reads import ListMessages, ListSimulationEvents
from hivewire.rehearsal import session_of
from hivewire.simulations import Simulations
from hivewire.views import SessionView
from integration import test_agent_gateway
from integration.tick_engine import differences, operator, topology


@dataclass
class Rehearsal:
    client: Client

    @property
    def sims(self) -> Simulations:
        return self.client.simulations

    async def begin(self, agents: str, edges: str = "", **config) -> str:
        brief = await self.sims.create(topology(agents, edges, **config))
        await self.sims.start(brief.simulation_id)
        return brief.simulation_id

    async def ask(self, simulation: str, agent: str, content: object) -> None:
        """The user's message, which the next tick hands to the agent."""
        await self.sims.send(simulation, agent, content)
        await self.sims.tick(simulation)

    async def happened(self, simulation: str, event_type: str, count: int = 1) -> list[dict]:
        """The events of a type, once there are so many."""
        query = ListSimulationEvents(simulation_id=simulation, event_type=event_type)
        while True:
            found = [msgspec.json.decode(event.data) async for event in self.sims.events(query)]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)

    async def said(self, simulation: str) -> list[object]:
        """What the user was told in the end, from a tick after all answers."""
        await self.sims.tick(simulation)
        query = ListMessages(simulation_id=simulation, agent_id="user")
        found = [m async for m in self.sims.messages(query) if m.target == "user"]
        return [msgspec.json.decode(message.content) for message in found]

    async def connection(self, simulation: str) -> str | None:
        """Of the simulation's only agent."""
        (agent,) = (await self.sims.state(simulation)).agents
        return agent.connection

    async def session(self, simulation: str, dispatch: str = "d1", run: int = 1) -> SessionView:
        return await sessions.show(self.client.connection, session_of(simulation, run, dispatch))

    async def until(self, simulation: str, state: str, dispatch: str = "d1", run: int = 1) -> SessionView:
        """The session of a dispatch, once it is in that state."""
        while True:
            try:
                session = await self.session(simulation, dispatch, run)
            except RefusedError:  # the gateway was not asked yet
                await asyncio.sleep(0.02)
                continue
            if session.state == state:
                return session
            await asyncio.sleep(0.02)


@asynccontextmanager
async def rehearsal(hive) -> AsyncIterator[Rehearsal]:
    """At its end every simulation is replayed."""
    async with operator(hive) as client:
        yield Rehearsal(client)
        for simulation_id in [simulation.simulation_id async for simulation in client.simulations.list()]:
            assert (await client.simulations.replay(simulation_id)).same
    assert await differences(hive) == []
    assert await test_agent_gateway.differences(hive) == []


@asynccontextmanager
async def native(hive, name: str, **card) -> AsyncIterator[Agent]:
    """An agent of the SDK, whose one handler knows nothing of simulations."""
    context = Context(nats_url=hive.nats_url, nats_creds=str(hive.credentials("agent", name)), hive=hive.name)
    agent = Agent(name, context=context, grace_s=0.0, **card)

    @agent.task(needs="review")
    async def review(task, ctx):
        await ctx.progress(0.5, "reading")
        if task.title == "fail":
            raise ValueError("cannot read it")
        if task.title == "for ever":
            await asyncio.Event().wait()
        assert task.rehearsed
        return {"verdict": "ok", "of": task.title, "with": task.payload, "tick": task.metadata["simulation"]["tick"]}

    async with agent:
        yield agent
