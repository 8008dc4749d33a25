"""Remote agents over WebSockets, and those who ask them over HTTP."""

import asyncio
import json
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
from ports import free_port

from .gateway_process import broker, gateway
from .test_agent_gateway import connected, differences


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
