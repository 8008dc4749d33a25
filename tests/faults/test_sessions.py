"""Many remote agents at once, and the agent gateway's core and doors killed in the middle of sessions: each session is
answered once, none is lost."""

import asyncio
import contextlib
import json
import re
import time
from collections import Counter

import httpx
import psutil
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from hivewire_service.health import serving
from integration.gateway_process import start
from integration.test_agent_gateway import differences
from integration.test_door import create_token
from integration.test_http_agents import GitHub
from ports import free_port

SESSIONS = 1_000
AGENTS = 10
PULLED_EVERY = 50
"""Of so many sessions one ends with a pull request, the others with a webhook."""
WEBSOCKETS = 500
ENDPOINTS = 200
DISPATCHES = 5_000
KILLS = 5
SETTINGS = {
    "HIVEWIRE_OUTBOUND_NETWORKS": '["127.0.0.0/8"]',
    "HIVEWIRE_REQUESTS_PER_MINUTE": "1000000",
    "HIVEWIRE_SESSIONS_MAX": "60",
}

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


class Gateway:
    """A core or a door that is killed and started again."""

    def __init__(self, hive, **settings: str) -> None:
        self._hive = hive
        self._settings = SETTINGS | settings
        self._running: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._running = await start(self._hive, "agent_gateway", **self._settings)

    @property
    def bytes(self) -> int:
        """What it has in memory."""
        assert self._running is not None
        return psutil.Process(self._running.pid).memory_info().rss

    async def kill(self) -> None:
        await self.stop()
        await self.start()

    async def stop(self) -> None:
        assert self._running is not None
        self._running.kill()
        await self._running.wait()


async def remote_agent(name: str, token: str, ports: list[int], answered: Counter) -> None:
    """Answers whatever comes, over whichever door is open; a dispatch that comes again is answered again."""
    register = json.dumps({"type": "register", "agent_id": name, "auth_token": token})
    while True:
        for port in ports:
            with contextlib.suppress(OSError, ConnectionClosed, InvalidHandshake, TimeoutError):
                async with connect(f"ws://127.0.0.1:{port}/ws/agent-bridge") as bridge:
                    await bridge.send(register)
                    async for text in bridge:
                        message = json.loads(text)
                        if message["type"] == "heartbeat":
                            await bridge.send(json.dumps({"type": "heartbeat", "agent_id": name}))
                        elif message["type"] == "dispatch":
                            answered[message["message_id"]] += 1
                            answer = {"type": "response", "message_id": message["message_id"], "agent_id": name}
                            await bridge.send(json.dumps(answer | {"content": message["content"]}))
        await asyncio.sleep(0.1)


async def test_no_session_is_lost_or_done_twice(hive):  # noqa: C901, PLR0915 - one story
    ports = [free_port(), free_port()]
    github = GitHub()
    effects: Counter = Counter()
    posted: Counter = Counter()

    async def hook(request: Request) -> Response:
        effects[request.headers["idempotency-key"]] += 1
        return Response(status_code=204)

    async def endpoint(request: Request) -> Response:
        posted[request.headers["idempotency-key"]] += 1
        await asyncio.sleep(0.05)
        return JSONResponse({"response": {"content": json.loads(await request.body())["content"]}})

    routes = [
        Route("/hook", hook, methods=["POST"]),
        Route("/agent", endpoint, methods=["POST"]),
        Route("/repos/me/it{path:path}", github.handle, methods=["GET", "POST"]),
    ]
    app = Starlette(routes=routes)
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving(app, 0))
        github.url = f"http://127.0.0.1:{port}"
        reaches = {"HIVEWIRE_GITHUB_URL": github.url, "HIVEWIRE_GITHUB_TOKEN": "secret"}
        core = Gateway(hive, HIVEWIRE_PART="core", **reaches)
        doors = [Gateway(hive, HIVEWIRE_PART="door", HIVEWIRE_HTTP_PORT=str(port)) for port in ports]
        for one in (core, *doors):
            await one.start()
            stack.push_async_callback(one.stop)
        names = [f"ws-{number}" for number in range(AGENTS)]
        tokens = {name: await create_token(hive, name, "agent") for name in names}
        boss = await create_token(hive, "boss", "operator")
        headers = {"X-Agent-ID": "boss", "Authorization": f"Bearer {boss}"}
        answered: Counter = Counter()
        agents = [asyncio.create_task(remote_agent(name, tokens[name], ports, answered)) for name in names]
        http = await stack.enter_async_context(httpx.AsyncClient(headers=headers, timeout=60))
        for number in range(AGENTS):
            card = {
                "agent_id": f"web-{number}",
                "agent_type": "remote",
                "endpoint_url": f"http://127.0.0.1:{port}/agent",
            }
            await _patiently(http, "POST", ports, "/api/v1/agents", card)
            names.append(f"web-{number}")
        while len((await _patiently(http, "GET", ports, "/api/v1/agents"))["items"]) < 2 * AGENTS:
            await asyncio.sleep(0.1)
        action = {"type": "webhook", "url": f"http://127.0.0.1:{port}/hook"}
        sessions = [
            {"id": f"s{n}", "agent_id": names[n % len(names)], "content": n, "completion_action": action}
            for n in range(SESSIONS)
        ]
        for one in sessions[::PULLED_EVERY]:
            one["completion_action"] = {"type": "github_pull_request", "repository": "me/it", "issue": 7}
            one["content"] = {"files": {"answer.txt": one["id"]}}
        batch = {"sessions": sessions, "max_concurrent": 60}
        reply = await _patiently(http, "POST", ports, "/api/v1/sessions/batch", batch)
        assert not [item for item in reply["items"] if "error" in item]
        for round_ in range(KILLS):
            for one in (core, doors[round_ % 2]):
                done = len(effects)
                while len(effects) < min(SESSIONS, done + SESSIONS // (3 * KILLS)):
                    await asyncio.sleep(0.02)
                await one.kill()
        while (await _patiently(http, "GET", ports, f"/api/v1/sessions?state=completed&limit={SESSIONS}"))["items"][
            SESSIONS - 1 :
        ] == []:
            await asyncio.sleep(0.5)
        for agent in agents:
            agent.cancel()
        await asyncio.gather(*agents, return_exceptions=True)
    pulled = {f"s{n}" for n in range(0, SESSIONS, PULLED_EVERY)}
    assert effects.keys() == {f"s{n}" for n in range(SESSIONS)} - pulled
    assert sorted(pull["head"] for pull in github.pulls) == sorted(f"hivewire/{name}" for name in pulled)
    assert github.refs.keys() == {"main", *(f"hivewire/{name}" for name in pulled)}
    assert sorted(re.search(r"session (\w+) done", text)[1] for text in github.comments) == sorted(pulled)
    again = sum(effects.values()) - len(effects), sum((answered + posted).values()) - SESSIONS
    print(f"webhooks called again: {again[0]}, dispatches given again: {again[1]}")
    assert await differences(hive) == []


async def test_a_fleet_of_remote_agents(hive):
    """Seven hundred agents and five thousand dispatches, in batches of a thousand."""
    posted: Counter = Counter()

    async def endpoint(request: Request) -> Response:
        posted[request.headers["idempotency-key"]] += 1
        return JSONResponse({"response": {"content": json.loads(await request.body())["content"]}})

    app = Starlette(routes=[Route("/agent", endpoint, methods=["POST"])])
    port = free_port()
    settings = {"HIVEWIRE_SESSIONS_MAX": "1000", "HIVEWIRE_HTTP_PORT": str(port)}
    core = Gateway(hive, HIVEWIRE_PART="core", **settings)
    door = Gateway(hive, HIVEWIRE_PART="door", **settings)
    async with contextlib.AsyncExitStack() as stack:
        web = await stack.enter_async_context(serving(app, 0))
        for one in (core, door):
            await one.start()
            stack.push_async_callback(one.stop)
        boss = await create_token(hive, "boss", "operator")
        headers = {"X-Agent-ID": "boss", "Authorization": f"Bearer {boss}"}
        http = await stack.enter_async_context(httpx.AsyncClient(headers=headers, timeout=60))
        answered: Counter = Counter()
        names = [f"ws-{number}" for number in range(WEBSOCKETS)]
        agents = []
        for name in names:
            token = (await _patiently(http, "POST", [port], "/api/v1/tokens", {"name": name}))["token"]
            agents.append(asyncio.create_task(remote_agent(name, token, [port], answered)))
        for number in range(ENDPOINTS):
            url = f"http://127.0.0.1:{web}/agent"
            card = {"agent_id": f"web-{number}", "agent_type": "remote", "endpoint_url": url}
            await _patiently(http, "POST", [port], "/api/v1/agents", card)
            names.append(f"web-{number}")
        while len((await _patiently(http, "GET", [port], "/api/v1/agents?limit=1000"))["items"]) < len(names):
            await asyncio.sleep(0.1)
        batch_s, done_s, bytes_after = [], [], []
        for round_ in range(DISPATCHES // SESSIONS):
            sessions = [
                {"id": f"d{round_}-{n}", "agent_id": names[n % len(names)], "content": n} for n in range(SESSIONS)
            ]
            begun = time.perf_counter()
            batch = {"sessions": sessions, "max_concurrent": SESSIONS}
            reply = await _patiently(http, "POST", [port], "/api/v1/sessions/batch", batch)
            batch_s.append(round(time.perf_counter() - begun, 2))
            assert all(item["created"] for item in reply["items"])
            query = f"/api/v1/sessions?batch={await _batch_of(http, port, reply)}&state=completed&limit={SESSIONS}"
            while len((await _patiently(http, "GET", [port], query))["items"]) < SESSIONS:
                await asyncio.sleep(0.2)
            done_s.append(round(time.perf_counter() - begun, 2))
            bytes_after.append(core.bytes + door.bytes)
        for agent in agents:
            agent.cancel()
        await asyncio.gather(*agents, return_exceptions=True)
    given = answered + posted
    assert given.keys() == {f"d{n // SESSIONS}-{n % SESSIONS}.1" for n in range(DISPATCHES)}
    assert set(given.values()) == {1}
    megabytes = [count >> 20 for count in bytes_after]
    print(f"batches returned after {batch_s} s, were done after {done_s} s; {megabytes} MB after each")
    assert megabytes[-1] - megabytes[1] < 40
    assert await differences(hive) == []


async def _batch_of(http: httpx.AsyncClient, port: int, reply: dict) -> str:
    session_id = reply["items"][0]["session_id"]
    return (await _patiently(http, "GET", [port], f"/api/v1/sessions/{session_id}"))["batch_id"]


async def _patiently(http: httpx.AsyncClient, method: str, ports: list[int], path: str, body: object = None) -> dict:
    """A request to whichever door answers it."""
    while True:
        for port in ports:
            with contextlib.suppress(httpx.TransportError):
                answer = await http.request(method, f"http://127.0.0.1:{port}{path}", json=body)
                if answer.status_code < 500:
                    assert answer.status_code < 400, answer.text
                    return answer.json()
        await asyncio.sleep(0.1)
