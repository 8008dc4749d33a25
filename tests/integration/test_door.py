"""The HTTP door, as curl and a stock WebSocket client see it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from hivewire.admin import CreateToken
from hivewire.subjects import AGENT_GATEWAY
from hivewire.views import NewToken

from .gateway_process import broker, gateway, process
from .test_agent_gateway import connected, differences


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@dataclass
class Door:
    """A door with a token of each role."""

    port: int
    tokens: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def http(self, name: str, token: str | None = None) -> httpx.AsyncClient:
        headers = {"X-Agent-ID": name, "Authorization": f"Bearer {token or self.tokens[name]}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30)

    @asynccontextmanager
    async def bridge(self, name: str, **register) -> AsyncIterator[ClientConnection]:
        async with connect(f"ws://127.0.0.1:{self.port}/ws/agent-bridge", max_size=None) as socket_:
            first = {"type": "register", "agent_id": name, "auth_token": self.tokens.get(name, "")} | register
            await socket_.send(json.dumps(first))
            yield socket_


async def create_token(hive, name: str, role: str) -> str:
    async with connected(hive, "operator") as operator:
        made = await operator.admin(AGENT_GATEWAY, "create_token", CreateToken(name, role), NewToken)
    return made.token


@asynccontextmanager
async def doors(hive, **settings) -> AsyncIterator[Door]:
    port = free_port()
    environment = {"HIVEWIRE_HTTP_PORT": str(port), "HIVEWIRE_OUTBOUND_NETWORKS": '["127.0.0.0/8"]'}
    environment |= {"HIVEWIRE_REQUESTS_PER_MINUTE": "100000"} | settings
    async with gateway(hive, **environment):
        named = {"boss": "operator", "pub": "publisher", "ann": "agent", "eve": "agent"}
        tokens = {name: await create_token(hive, name, role) for name, role in named.items()}
        yield Door(port, tokens)


@pytest.fixture
async def door(hive) -> AsyncIterator[Door]:
    async with doors(hive) as one:
        yield one


async def get(socket_: ClientConnection, kind: str) -> dict:
    """The next message of this type."""
    while True:
        message = json.loads(await socket_.recv())
        if message["type"] == kind:
            return message


async def until(http: httpx.AsyncClient, path: str, wanted) -> dict:
    """What a path answers once it is as it should be."""
    while True:
        found = (await http.get(path)).json()
        if wanted(found):
            return found
        await asyncio.sleep(0.05)


async def test_who_calls_must_be_proven(hive, door):
    async with httpx.AsyncClient(base_url=door.url) as nobody:
        assert (await nobody.get("/api/v1/agents")).status_code == 401
        assert (await nobody.get("/api/v1/agents", headers={"X-Agent-ID": "ann"})).status_code == 401
        answer = await nobody.get("/api/v1/agents", headers={"X-Agent-ID": "a b"})
        assert (answer.status_code, set(answer.json())) == (400, {"error", "detail"})
        assert (await nobody.get("/health")).json() == {"status": "ok"}
        assert (await nobody.get("/ready")).json()["role"] == "owner"
    async with door.http("eve", door.tokens["ann"]) as liar:
        assert (await liar.get("/api/v1/agents")).status_code == 401
    async with door.http("ann") as ann:
        assert (await ann.get("/api/v1/agents")).json() == {"items": [], "cursor": None}
        assert (await ann.get("/api/v1/stats")).status_code == 403
        assert (await ann.get("/api/v1/nothing")).status_code == 404
        assert (await ann.put("/api/v1/agents")).status_code == 405
        assert (await ann.get("/api/v1/agents?limit=0")).status_code == 400
        assert (await ann.get("/api/v1/agents?other=0")).status_code == 400
        assert "x-request-id" in (await ann.get("/api/v1/agents")).headers


async def test_revoked_tokens_are_refused(hive, door):
    async with door.http("boss") as boss, door.http("eve") as eve:
        assert (await boss.delete("/api/v1/tokens/eve")).json() == {"name": "eve", "revoked": 1}
        while (await eve.get("/api/v1/agents")).status_code != 401:
            await asyncio.sleep(0.1)
        listed = (await boss.get("/api/v1/tokens")).json()
        assert [one["name"] for one in listed if one["revoked_at"]] == ["eve"]
        made = (await boss.post("/api/v1/tokens", json={"name": "new", "role": "agent"})).json()
        assert "BEGIN NATS USER JWT" in made["creds"]
        assert (await boss.delete("/api/v1/tokens/nobody")).status_code == 404


async def test_too_many_requests_are_told_when_to_come_again(hive):
    async with doors(hive, HIVEWIRE_REQUESTS_PER_MINUTE="3") as door, door.http("ann") as ann:
        statuses = [(await ann.get("/api/v1/agents")).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        assert int((await ann.get("/api/v1/agents")).headers["Retry-After"]) >= 1


async def test_open_doors_trust_names_but_not_for_what_operators_do(hive):
    async with doors(hive, HIVEWIRE_OPEN="true") as door, httpx.AsyncClient(base_url=door.url) as someone:
        assert (await someone.get("/api/v1/agents", headers={"X-Agent-ID": "zoe"})).status_code == 200
        assert (await someone.get("/api/v1/stats", headers={"X-Agent-ID": "zoe"})).status_code == 403
        assert (await someone.get("/api/v1/agents")).status_code == 401


async def test_a_session_over_a_bridge_and_its_response_taken_once(hive, door):
    async with door.http("pub") as pub, door.bridge("ann", capabilities=["Echo"]) as ann:
        registered = await get(ann, "registered")
        assert registered["agent_id"] == "ann"
        asked = {"agent_id": "ann", "content": {"say": "hi"}, "context": [1], "external_ref": "7"}
        made = await pub.post("/api/v1/sessions", json=asked)
        assert made.status_code == 201
        session_id = made.json()["session_id"]
        given = await get(ann, "dispatch")
        assert (given["message_id"], given["content"], given["context"]) == (f"{session_id}.1", {"say": "hi"}, [1])
        progress = {"type": "progress", "message_id": given["message_id"], "agent_id": "ann", "progress_text": "soon"}
        await ann.send(json.dumps(progress))
        await until(pub, f"/api/v1/sessions/{session_id}", lambda found: found["state"] == "running")
        answer = {"type": "response", "message_id": given["message_id"], "agent_id": "ann", "content": "hello"}
        await ann.send(json.dumps(answer))
        done = await until(pub, f"/api/v1/sessions/{session_id}", lambda found: found["state"] == "completed")
        assert (done["response"], done["progress_text"]) == ("hello", "soon")
        taken = await pub.get(f"/api/v1/sessions/{session_id}/response")
        assert taken.json() == {"session_id": session_id, "response": "hello", "usage": None}
        assert (await pub.get(f"/api/v1/sessions/{session_id}/response")).status_code == 409
        listed = (await pub.get("/api/v1/sessions", params={"external_ref": "7"})).json()
        assert [one["session_id"] for one in listed["items"]] == [session_id]
        await ann.send(json.dumps(answer | {"content": "again"}))
        assert (await get(ann, "error"))["status"] == 409
    assert await differences(hive) == []


async def test_a_newer_connection_replaces_the_older_and_gets_what_was_in_flight(hive, door):
    async with door.http("pub") as pub, door.bridge("ann") as old:
        await get(old, "registered")
        made = (await pub.post("/api/v1/sessions", json={"agent_id": "ann", "content": 1})).json()
        given = await get(old, "dispatch")
        async with door.bridge("ann") as new:
            with pytest.raises(ConnectionClosed):
                await get(old, "never")
            assert old.close_code == 4002
            assert (await get(new, "dispatch")) == given
            answer = {"type": "response", "message_id": given["message_id"], "agent_id": "ann", "content": 2}
            await new.send(json.dumps(answer))
            path = f"/api/v1/sessions/{made['session_id']}"
            assert (await until(pub, path, lambda found: found["state"] == "completed"))["attempt"] == 1


async def test_cancel_reaches_the_agent(hive, door):
    async with door.http("pub") as pub, door.bridge("ann") as ann:
        await get(ann, "registered")
        made = (await pub.post("/api/v1/sessions", json={"agent_id": "ann", "content": 1})).json()
        await get(ann, "dispatch")
        cancelled = await pub.post(f"/api/v1/sessions/{made['session_id']}/cancel", json={"reason": "enough"})
        assert cancelled.json()["state"] == "cancelled"
        assert (await get(ann, "cancel"))["reason"] == "enough"


async def test_a_task_reaches_a_bridge_and_is_completed_by_its_response(hive, door):
    async with broker(hive), door.http("pub") as pub, door.bridge("ann", capabilities=["echo"]) as ann:
        await get(ann, "registered")
        body = {"title": "Say it", "required_capabilities": ["echo"], "payload": {"a": 1}}
        made = await pub.post("/api/v1/tasks", json=body)
        assert made.status_code == 201
        path = f"/api/v1/tasks/{made.json()['task_id']}"
        given = await get(ann, "dispatch")
        assert (given["content"], given["context"]["task"]["payload"]) == ("Say it", {"a": 1})
        await ann.send(
            json.dumps({"type": "response", "message_id": given["message_id"], "agent_id": "ann", "content": 3})
        )
        done = await until(pub, path, lambda found: found["status"] == "completed")
        assert (done["result"], done["agent_id"]) == (3, "ann")
        kinds = [one["type"] for one in (await pub.get(f"{path}/events")).json()["items"]]
        assert kinds == ["task.created", "task.queued", "task.assigned", "task.started", "task.completed"]
        failing = (await pub.post("/api/v1/tasks", json=body | {"max_retries": 0})).json()
        given = await get(ann, "dispatch")
        await ann.send(
            json.dumps({"type": "response", "message_id": given["message_id"], "agent_id": "ann", "error": "no"})
        )
        dead = await until(pub, f"/api/v1/tasks/{failing['task_id']}", lambda found: found["status"] == "dead_lettered")
        assert dead["error"] == "no"
        cancelled = (await pub.post("/api/v1/tasks", json=body)).json()
        await get(ann, "dispatch")
        await pub.patch(f"/api/v1/tasks/{cancelled['task_id']}", json={"status": "cancelled"})
        await get(ann, "cancel")
    assert await differences(hive) == []


async def test_routes_of_tasks_refuse_as_they_should(hive, door):
    async with broker(hive), door.http("pub") as pub, door.http("ann") as ann, door.http("boss") as boss:
        made = (await pub.post("/api/v1/tasks", json={"title": "x", "id": "t1"})).json()
        assert (made["owner"], made["status"]) == ("pub", "pending")
        assert (await pub.post("/api/v1/tasks", json={"title": "x", "id": "t1"})).status_code == 200
        assert (await pub.post("/api/v1/tasks", json={"title": "y", "id": "t1"})).status_code == 409
        assert (await pub.post("/api/v1/tasks", json={})).status_code == 400
        assert (await pub.post("/api/v1/tasks", content=b"{")).status_code == 400
        assert (await pub.post("/api/v1/tasks", content=b"[" * 100_000)).status_code == 400
        assert (await pub.post("/api/v1/tasks", content=b'{"title":"' + b"x" * 1_100_000 + b'"}')).status_code == 413
        assert (await pub.get("/api/v1/tasks/t2")).status_code == 404
        assert (await pub.get("/api/v1/tasks/a b")).status_code == 400
        assert (await pub.get("/api/v1/tasks/t1/explain")).status_code == 404
        assert "agent" in (await pub.get("/api/v1/tasks/t1/why")).json()["sentence"]
        assert (await pub.post("/api/v1/tasks/t1/complete", json={})).status_code == 403
        assert (await ann.post("/api/v1/tasks/t1/complete", json={"result": 1})).status_code == 403
        assert (await boss.get("/api/v1/stats")).json()["tasks"] == {"pending": 1}
        assert (await boss.get("/api/v1/queue")).json()["ready"] == 1
        assert (await boss.post("/api/v1/dead-letters/t1/replay")).status_code == 409
        batch = await pub.post("/api/v1/tasks/batch", json={"tasks": [{"title": "a"}, {"no": 1}]})
        assert ["error" in item for item in batch.json()["items"]] == [False, True]
        assert (await pub.patch("/api/v1/tasks/t1", json={"status": "done"})).status_code == 422


async def test_events_stream_and_go_on_where_they_were(hive, door):
    async with door.http("pub") as pub, door.bridge("ann") as ann:
        await get(ann, "registered")
        url = "/api/v1/events/stream?type=session"
        async with pub.stream("GET", url) as stream:
            lines = stream.aiter_lines()
            assert (await anext(lines)) == ": connected"
            first = (await pub.post("/api/v1/sessions", json={"agent_id": "ann", "content": 1})).json()["session_id"]
            seen = [await _event(lines) for _ in range(2)]
        assert [kind for _, kind, _ in seen] == ["session.created", "session.dispatched"]
        assert {data["entity_id"] for _, _, data in seen} == {first}
        async with pub.stream("GET", url, headers={"Last-Event-ID": seen[0][0]}) as stream:
            _, kind, _ = await _event(stream.aiter_lines())
            assert kind == "session.dispatched"
        assert (await pub.get(url, headers={"Last-Event-ID": "x"})).status_code == 400


async def _event(lines) -> tuple[str, str, dict]:
    fields: dict[str, str] = {}
    async for line in lines:
        if not line and "data" in fields:
            return fields["id"], fields["event"], json.loads(fields["data"])
        name, _, value = line.partition(": ")
        fields[name] = value
    raise AssertionError("the stream ended")


async def test_the_api_describes_itself(hive, door):
    async with httpx.AsyncClient(base_url=door.url) as anybody:
        document = (await anybody.get("/openapi.json")).json()
        assert document["openapi"].startswith("3.1")
        assert "/api/v1/sessions/{session_id}/response" in document["paths"]
        assert "/api/v1/tasks" in (await anybody.get("/docs")).text


async def test_conversations_and_simulations_are_passed_on(hive, door):
    simulation = {"simulation_id": "sim1", "agents": [{"id": "a"}], "graph": {"nodes": [{"id": "a"}], "edges": []}}
    async with process(hive, "conversation"), process(hive, "tick_engine"), door.http("boss") as boss:
        async with door.http("ann") as ann:
            asked = await ann.post("/api/v1/conversations", json={"target": "agent:nobody", "question": "Who?"})
            assert asked.status_code in {404, 409, 422}
            assert (await ann.get("/api/v1/conversations")).json()["items"] == []
            assert (await ann.get("/api/v1/conversations/c1")).status_code == 404
            assert (await ann.post("/api/v1/simulations", json=simulation)).status_code == 403
        made = await boss.post("/api/v1/simulations", json=simulation)
        assert made.status_code in {200, 201}, made.text
        simulation_id = made.json()["simulation_id"]
        assert (await boss.get(f"/api/v1/simulations/{simulation_id}/state")).json()["simulation_id"] == simulation_id
        assert (await boss.get(f"/api/v1/simulations/{simulation_id}/messages")).json()["items"] == []
