"""Real agents in a simulation: the tick engine, the gateway with its door, and agents of all three kinds."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import msgspec
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.routing import Route
from tests.conftest import Hive

from hivewire import Agent, sessions
from hivewire.commands.sessions import Dispatch
from hivewire.rehearsal import session_of
from integration.rehearsing import Rehearsal, native, rehearsal
from integration.test_door import Door, doors, get
from integration.test_http_agents import Endpoint, register, serve
from integration.tick_engine import engine

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Stage(Rehearsal):
    hive: Hive
    door: Door

    def native(self, name: str, **card) -> AbstractAsyncContextManager[Agent]:
        return native(self.hive, name, **card)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on(stack, tmp_path_factory) -> AsyncIterator[Stage]:
    """A tick engine and a gateway for all tests."""
    issuer = stack.nats.add_hive("rehearsals")
    folder = tmp_path_factory.mktemp("credentials")
    keys_file = stack.nats.keys_file("rehearsals")
    hive = Hive("rehearsals", stack.nats.url, stack.postgres.dsn, keys_file, issuer, folder)
    async with engine(hive), doors(hive) as door, rehearsal(hive) as seen:
        yield Stage(seen.client, hive, door)


async def test_agents_of_all_three_kinds_answer_as_they_do_in_production(on):
    endpoint = Endpoint()
    app = Starlette(routes=[Route("/agent", endpoint.handle, methods=["POST"])])
    async with serve(app) as url, on.door.http("boss") as boss, on.door.bridge("ann") as ann, on.native("nat"):
        endpoint.url = f"{url}/agent"
        await register(boss, endpoint)
        await get(ann, "registered")
        simulation = await on.begin("lead! ann@ nat@ web@")
        await on.sims.send(simulation, "*", {"title": "part 1", "payload": 7}, "lead")
        tick = await on.sims.tick(simulation)
        assert tick.messages == 3  # it went on without their answers
        dispatch = await get(ann, "dispatch")
        assert dispatch["content"] == {"title": "part 1", "payload": 7}
        told = dispatch["context"]["simulation"]
        assert (told["simulation_id"], told["tick"], told["from"]) == (simulation, 1, "lead")
        assert [heard["message_id"] for heard in told["history"]] == ["m1"]
        post = await endpoint.posts.get()
        assert post.headers["idempotency-key"] == f"{session_of(simulation, 1, 'd3')}.1"
        answer = {"type": "response", "message_id": dispatch["message_id"], "agent_id": "ann", "content": "bridged"}
        await ann.send(json.dumps(answer))

        buffered = await on.happened(simulation, "dispatch.buffered", 3)
        assert {one["agent_id"]: one["content"] for one in buffered} == {
            "ann": "bridged",
            "nat": {"verdict": "ok", "of": "part 1", "with": 7, "tick": 1},
            "web": "ok",
        }
        assert {one["tick"] for one in buffered} == {1}  # and are taken up by the next tick
        await on.sims.tick(simulation)
        responded = await on.happened(simulation, "dispatch.responded", 3)
        assert {one["tick"] for one in responded} == {2}
        await ann.send(json.dumps(answer | {"content": "another"}))  # twice
        refused = await get(ann, "error")
        assert refused["status"] == 409
        assert len(await on.happened(simulation, "dispatch.buffered", 3)) == 3
        assert (await on.session(simulation)).simulation_id == simulation
        forged = Dispatch(agent_id="ann", content=msgspec.Raw(b'"x"'), id=session_of(simulation, 1, "d9"))
        (item,) = await sessions.dispatch_batch(on.client.connection, [forged])
        assert (item.status, item.error) == (403, "ids that begin with 'sim-' are of simulations: choose another")


async def test_what_agents_fail_at_reaches_the_one_who_asked(on):
    async with on.native("nat", slots=2):
        simulation = await on.begin("nat@")
        await on.ask(simulation, "nat", "fail")
        (failed,) = await on.happened(simulation, "dispatch.buffered")
        assert failed["error"].startswith("ValueError: cannot read it")
        assert (await on.said(simulation))[0]["error"].startswith("nat failed: ValueError")

        await on.ask(simulation, "nat", "for ever")
        await on.until(simulation, "running", "d2")
        await on.client.remove("nat")
        assert (await on.happened(simulation, "dispatch.buffered", 2))[1]["error"] == "agent nat lost it: it is gone"


async def test_a_reset_gives_up_what_is_under_way_and_a_pause_does_not(on):
    async with on.native("nat") as agent:
        simulation = await on.begin("nat@")
        await on.ask(simulation, "nat", "for ever")
        await on.until(simulation, "running")
        await on.sims.pause(simulation)
        assert (await on.session(simulation)).state == "running"
        await on.sims.reset(simulation)
        await on.until(simulation, "cancelled")
        assert agent._session is not None
        while agent._session.workbench.sessions:  # its handler was cancelled
            await asyncio.sleep(0.02)
        await on.sims.start(simulation)
        await on.ask(simulation, "nat", "again")
        assert (await on.happened(simulation, "dispatch.buffered"))[0]["content"]["of"] == "again"


async def test_an_answer_that_comes_too_late_is_refused_and_its_session_given_up(on):
    async with on.native("nat"):
        simulation = await on.begin("nat@", dispatch_timeout_ticks=1)
        await on.ask(simulation, "nat", "for ever")
        await on.until(simulation, "running")
        await on.sims.tick(simulation)
        assert [one["tick"] for one in await on.happened(simulation, "dispatch.timed_out")] == [2]
        assert (await on.until(simulation, "cancelled")).error == "its simulation does not wait for it any more"
        assert await on.said(simulation) == [{"error": "nat did not answer: no response within 1 ticks"}]


async def test_an_agent_that_comes_later_gets_what_waits_for_it_and_one_that_goes_is_an_error(on):
    simulation = await on.begin("late@")
    assert (await on.connection(simulation)) == "unregistered"
    await on.ask(simulation, "late", "early")
    await on.until(simulation, "created")
    async with on.native("late"):
        assert (await on.happened(simulation, "dispatch.buffered"))[0]["content"]["of"] == "early"
        assert (await on.connection(simulation)) == "present"
        await on.ask(simulation, "late", "for ever")
        await on.until(simulation, "running", "d2")
    gone = (await on.happened(simulation, "dispatch.buffered", 2))[1]
    assert gone["error"] == "agent late lost it: it is gone"
    assert (await on.connection(simulation)) == "away"


async def test_a_fork_asks_what_was_open_anew(on):
    async with on.native("nat", slots=2):
        simulation = await on.begin("nat@")
        await on.ask(simulation, "nat", "for ever")
        await on.until(simulation, "running")
        fork = await on.sims.fork(simulation, 1)
        await on.until(fork.simulation_id, "running")
        await on.sims.respond(fork.simulation_id, "d1", "by hand")
        await on.sims.start(fork.simulation_id)
        assert await on.said(fork.simulation_id) == ["by hand"]
        await on.until(fork.simulation_id, "cancelled")
        assert (await on.session(simulation)).state == "running"
