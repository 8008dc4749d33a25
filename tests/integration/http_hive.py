"""A whole hive behind doors, for tests that speak HTTP alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
import jsonschema_rs

from hivewire_agent_gateway.door import openapi
from hivewire_agent_gateway.door.routes import ROUTES
from hivewire_agent_gateway.door.table import API, Route
from ports import free_port

from .gateway_process import process
from .test_door import create_token

CALLERS = {"boss": "operator", "pub": "publisher", "ann": "agent", "remote": "agent"}
DOCUMENT = openapi.document(ROUTES)


@dataclass(eq=False)
class HttpHive:
    """Every service, behind a door, and a token of each role."""

    url: str
    metrics_port: int
    tokens: dict[str, str]

    @cache  # noqa: B019 - there is one hive a module, and clients are dear
    def client(self, name: str | None, token: str | None = None, url: str | None = None) -> httpx.Client:
        """A caller; None is nobody."""
        token = token or self.tokens.get(name, "")
        headers = {"X-Agent-ID": name, "Authorization": f"Bearer {token}"} if name else {}
        return httpx.Client(base_url=f"{url or self.url}{API}", headers=headers, timeout=60)


@asynccontextmanager
async def whole_hive(hive) -> AsyncIterator[HttpHive]:
    """All services in one process, until the context ends."""
    port, metrics_port = free_port(), free_port()
    settings = {
        "HIVEWIRE_HTTP_PORT": str(port),
        "HIVEWIRE_METRICS_PORT": str(metrics_port),
        "HIVEWIRE_REQUESTS_PER_MINUTE": "1000000",
        "HIVEWIRE_OUTBOUND_NETWORKS": '["127.0.0.0/8"]',
    }
    async with process(hive, "all", **settings):
        url = f"http://127.0.0.1:{port}"
        await ready(url)
        tokens = {name: await create_token(hive, name, role) for name, role in CALLERS.items()}
        yield HttpHive(url, metrics_port, tokens)


@asynccontextmanager
async def another_door(hive, **settings: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """A door more, with its URL."""
    port = free_port()
    async with process(
        hive, "agent_gateway", HIVEWIRE_PART="door", HIVEWIRE_HTTP_PORT=str(port), **settings
    ) as running:
        url = f"http://127.0.0.1:{port}"
        await ready(url)
        yield url, running


async def ready(url: str) -> None:
    """Wait until a door takes requests."""
    async with httpx.AsyncClient() as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(f"{url}/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.1)


def check(route: Route, answer: httpx.Response) -> Any:
    """The answer's body, which is what the OpenAPI document says."""
    operation = DOCUMENT["paths"][f"{API}{route.path}"][route.method.lower()]
    content = operation["responses"][str(answer.status_code)]["content"]
    schema = content[answer.headers["content-type"]]["schema"]
    jsonschema_rs.validate({**schema, "components": DOCUMENT["components"]}, answer.json(), validate_formats=True)
    return answer.json()
