"""The WebSocket bridge and agents that misbehave: each gets its close code, and history tells of it."""

import base64
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import psutil
import pytest
import pytest_asyncio
from tests.conftest import Hive, new_hive
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from ports import free_port

from .gateway_process import process
from .test_agent_gateway import differences
from .test_door import Door, doors, get, until
from .test_metrics import scrape


@dataclass
class World:
    """A gateway and the conversation service, shared by the tests of this module, with a client of each role."""

    hive: Hive
    door: Door
    pub: httpx.AsyncClient
    boss: httpx.AsyncClient
    metrics_port: int

    async def joins(self, name: str) -> str:
        """A new agent's name, which has a token."""
        if name not in self.door.tokens:
            made = await self.boss.post("/api/v1/tokens", json={"name": name})
            self.door.tokens[name] = made.json()["token"]
        return name

    @asynccontextmanager
    async def agent(self, name: str, **register) -> AsyncIterator[ClientConnection]:
        """A registered agent."""
        async with self.door.bridge(await self.joins(name), **register) as bridge:
            await get(bridge, "registered")
            yield bridge

    async def ask(self, name: str, **session) -> str:
        """A session for the agent; its path."""
        made = await self.pub.post("/api/v1/sessions", json={"agent_id": name, "content": 1} | session)
        assert made.status_code == 201, made.text
        return f"/api/v1/sessions/{made.json()['session_id']}"

    async def event(self, kind: str, entity_id: str) -> dict:
        """The last event of a kind, as soon as there is one."""
        query = f"/api/v1/events?type={kind}&entity_id={entity_id}"
        return (await until(self.boss, query, lambda found: found["items"]))["items"][-1]["data"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(stack, tmp_path_factory) -> AsyncIterator[World]:
    hive = new_hive(stack, tmp_path_factory.mktemp("bridge") / "hive")
    metrics_port = free_port()
    bounds = {"HIVEWIRE_SESSIONS_MAX": "1000", "HIVEWIRE_SESSIONS_PER_AGENT_MAX": "100"}
    async with (
        process(hive, "conversation"),
        doors(hive, HIVEWIRE_METRICS_PORT=str(metrics_port), **bounds) as door,
        door.http("pub") as pub,
        door.http("boss") as boss,
    ):
        yield World(hive, door, pub, boss, metrics_port)
        assert await differences(hive) == []


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def closed(bridge: ClientConnection) -> int | None:
    with pytest.raises(ConnectionClosed):
        await get(bridge, "never")
    return bridge.close_code


def answer_to(given: dict, content: object = 2, **more) -> str:
    named = {"message_id": given["message_id"], "agent_id": given["agent_id"]}
    return json.dumps({"type": "response", "content": content} | named | more)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"type":"heartbeat","agent_id":"ann"}', 4001),
        ("garbage", 4004),
        (b"\x00\xff", 4004),
        ('{"type":"register"}', 4004),
        ('{"type":"register","agent_id":"a b"}', 4004),
        ('{"type":"register","agent_id":"ann","auth_token":"no"}', 4005),
        ('{"type":"register","agent_id":"ann"}', 4005),
        ("x" * 1_100_000, 1009),
        ("[" * 100_000, 4004),
    ],
)
async def test_a_bad_first_message_closes_the_connection(world, message, code):
    async with connect(f"ws://127.0.0.1:{world.door.port}/ws/agent-bridge") as socket_:
        await socket_.send(message)
        assert await closed(socket_) == code


@pytest.mark.parametrize(
    ("name", "message", "code"),
    [
        ("garbler", "garbage", 4004),
        ("binary", b"\x00\xff", 4004),
        ("dancer", '{"type":"dance"}', 4004),
        ("accents", f'{{"type":"{"é" * 200}"}}', 4004),
        ("liar", '{"type":"heartbeat","agent_id":"eve"}', 4004),
        ("twin", '{"type":"register","agent_id":"twin"}', 4004),
        ("terse", '{"type":"response","agent_id":"terse"}', 4004),
        ("huge", "x" * 1_100_000, 1009),
        ("deep", "[" * 100_000, 4004),
    ],
)
async def test_a_bad_later_message_closes_the_connection_and_history_tells(world, name, message, code):
    async with world.agent(name) as bridge:
        await bridge.send(message)
        assert await closed(bridge) == code
    assert (await world.event("agent.disconnected", name))["code"] == code


async def test_a_connection_that_breaks_off_in_the_middle_of_a_frame(world):
    async with world.agent("breaker") as bridge:
        path = await world.ask("breaker")
        given = await get(bridge, "dispatch")
        frame = Frame(Opcode.TEXT, answer_to(given).encode()).serialize(mask=True)
        bridge.transport.write(frame[: len(frame) // 2])
        bridge.transport.abort()
    assert (await world.event("agent.disconnected", "breaker"))["code"] in {1005, 1006}
    async with world.agent("breaker") as again:
        assert await get(again, "dispatch") == given
        await again.send(answer_to(given))
        assert (await until(world.pub, path, lambda found: found["state"] == "completed"))["attempt"] == 1


async def test_what_was_in_flight_is_resumed_and_what_was_answered_is_not(world):
    async with world.agent("comer", metadata={"slots": 3}) as bridge:
        paths = [await world.ask("comer", content=number) for number in range(3)]
        given = [await get(bridge, "dispatch") for _ in range(3)]
        await bridge.send(answer_to(given[0], "first"))
        await until(world.pub, paths[0], lambda found: found["state"] == "completed")
    async with world.agent("comer", metadata={"slots": 3}) as again:
        resumed = [await get(again, "dispatch") for _ in range(2)]
        assert sorted(resumed, key=lambda one: one["content"]) == given[1:]
        for one in resumed:
            await again.send(answer_to(one))
        for path in paths:
            found = await until(world.pub, path, lambda found: found["state"] == "completed")
            assert found["attempt"] == 1


async def test_an_agent_that_hangs_is_told_and_its_late_answer_is_refused(world):
    async with world.agent("sleeper") as bridge:
        path = await world.ask("sleeper", timeout_seconds=0.3)
        given = await get(bridge, "dispatch")
        assert (await get(bridge, "cancel"))["reason"] == "timed out"
        assert (await until(world.pub, path, lambda found: found["ended_at"]))["state"] == "timed_out"
        await bridge.send(answer_to(given))
        assert (await get(bridge, "error"))["status"] == 409
    session_id = given["session_id"]
    assert "no answer" in (await world.event("session.timed_out", session_id))["error"]
    assert (await world.event("session.response_refused", session_id))["agent_id"] == "sleeper"


async def test_of_two_answers_the_first_holds(world):
    async with world.agent("doubter") as bridge:
        path = await world.ask("doubter")
        given = await get(bridge, "dispatch")
        await bridge.send(answer_to(given, "first"))
        await bridge.send(answer_to(given, "first"))  # a repeat, which is no fault
        await bridge.send(answer_to(given, "second"))
        assert (await get(bridge, "error"))["status"] == 409
        assert (await until(world.pub, path, lambda found: found["ended_at"]))["response"] == "first"
    assert "completed" in (await world.event("session.response_refused", given["session_id"]))["reason"]


async def test_another_agents_dispatch_cannot_be_answered(world):
    async with world.agent("owner") as owner, world.agent("thief") as thief:
        path = await world.ask("owner")
        given = await get(owner, "dispatch")
        await thief.send(answer_to(given | {"agent_id": "thief"}))
        assert (await get(thief, "error"))["status"] == 403
        assert (await world.event("session.response_refused", given["session_id"]))["agent_id"] == "thief"
        await thief.send(answer_to({"message_id": "nonsense", "agent_id": "thief"}))
        assert (await get(thief, "error"))["status"] == 400
        await owner.send(answer_to(given, "mine"))
        assert (await until(world.pub, path, lambda found: found["ended_at"]))["response"] == "mine"


async def test_a_reader_that_does_not_read_costs_bounded_memory_and_is_let_go(world):
    name = await world.joins("deaf")
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", world.door.port))
        async with connect(
            f"ws://127.0.0.1:{world.door.port}/ws/agent-bridge", sock=raw, max_size=None, ping_interval=None
        ) as bridge:
            register = {"type": "register", "agent_id": name, "auth_token": world.door.tokens[name]}
            await bridge.send(json.dumps(register | {"metadata": {"slots": 100}}))
            await get(bridge, "registered")
            bridge.transport.pause_reading()
            one = {"agent_id": name, "content": base64.b64encode(os.urandom(600_000)).decode()}  # nothing compresses it
            for _ in range(14):
                assert (await world.pub.post("/api/v1/sessions", json=one)).status_code == 201
            ended = await world.event("agent.disconnected", name)
            assert (ended["code"], "slowly" in ended["reason"]) == (1013, True)
            before = gateway_bytes()
            for _ in range(8):
                await world.pub.post("/api/v1/sessions", json=one)
            assert gateway_bytes() - before < 30_000_000


def gateway_bytes() -> int:
    """What the agent gateways of this test have in memory."""
    children = psutil.Process().children()
    return sum(child.memory_info().rss for child in children if "hivewire_agent_gateway" in " ".join(child.cmdline()))


async def test_agents_of_bridges_ask_answer_and_tell(world):
    async with world.agent("asker") as asker, world.agent("sage") as sage:
        ask = {"type": "ask", "agent_id": "asker", "conversation_id": "c1", "target": "agent:sage", "question": "Why?"}
        await asker.send(json.dumps(ask))
        assert (await get(asker, "asked"))["agent_id"] == "sage"
        question = await get(sage, "question")
        assert (question["conversation_id"], question["asker"], question["question"]) == ("c1", "asker", "Why?")
        await sage.send(json.dumps({"type": "answer", "agent_id": "sage", "conversation_id": "c1", "answer": [42]}))
        ended = await get(asker, "answer")
        assert (ended["conversation_id"], ended["state"], ended["answer"]) == ("c1", "answered", [42])
        tell = {"type": "message", "agent_id": "sage", "target": "agent:asker", "content": "done"}
        await sage.send(json.dumps(tell))
        told = await get(asker, "message")
        assert (told["sender"], told["content"]) == ("sage", "done")
        await asker.send(json.dumps(ask | {"conversation_id": "c2"}))
        await get(sage, "question")
        withdraw = {"type": "withdraw", "agent_id": "asker", "conversation_id": "c2"}
        await asker.send(json.dumps(withdraw))
        await until(world.boss, "/api/v1/conversations/c2", lambda found: found["state"] == "withdrawn")
        await asker.send(json.dumps(ask | {"conversation_id": "c3", "target": "agent:nobody"}))
        refused = await get(asker, "error")
        assert (refused["message_id"], refused["status"]) == ("c3", 404)
        await sage.send(json.dumps({"type": "answer", "agent_id": "sage", "conversation_id": "c1", "answer": 1}))
        assert (await get(sage, "error"))["status"] == 409
        await sage.send(json.dumps({"type": "ask", "agent_id": "sage", "target": "?", "question": 1}))
        assert (await get(sage, "error"))["status"] == 400


async def test_a_question_waits_for_an_agent_whose_connection_is_away(world):
    async with world.agent("away"):
        pass
    async with world.agent("patient") as patient:
        ask = {"type": "ask", "agent_id": "patient", "target": "agent:away", "question": 1}
        await patient.send(json.dumps(ask))
        asked = await get(patient, "asked")
        async with world.agent("away") as back:
            assert (await get(back, "question"))["conversation_id"] == asked["conversation_id"]


async def test_what_is_measured_names_no_agent_and_outlives_none(world):
    async with world.agent("measured") as bridge:
        path = await world.ask("measured", timeout_seconds=0.3)
        await get(bridge, "cancel")
        queued = await world.ask("measured")
        there = await scrape(
            world.metrics_port,
            lambda seen: seen("hivewire_sessions", state="dispatched") and seen("hivewire_session_timeouts_total"),
        )
        assert there("hivewire_agents", state="present", kind="websocket") >= 1
        assert there("hivewire_sessions", state="created") is not None
        assert there("hivewire_session_dispatch_seconds_count") >= 2
        assert there("hivewire_bridges") >= 1
        await bridge.send("garbage")
        assert await closed(bridge) == 4004
    await world.boss.post(f"{queued}/cancel")
    assert (await world.boss.delete("/api/v1/agents/measured")).status_code == 200
    await until(world.pub, path, lambda found: found["ended_at"])
    gone = await scrape(world.metrics_port, lambda seen: seen("hivewire_bridges_ended_total", code="4004"))
    assert not [name for name, labels in gone.series if "measured" in str(labels)]


async def test_a_silent_connection_is_closed(hive):
    async with doors(hive, HIVEWIRE_HEARTBEAT_SECONDS="0.3") as door, door.http("boss") as boss:
        async with door.bridge("ann") as silent:
            assert "timestamp" in await get(silent, "heartbeat")
            assert await closed(silent) == 4003
        query = "/api/v1/events?type=agent.disconnected&entity_id=ann"
        found = await until(boss, query, lambda found: found["items"])
        assert [one["data"]["code"] for one in found["items"]] == [4003]
