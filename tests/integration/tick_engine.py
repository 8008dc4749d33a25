"""A tick engine as a process, and what tests say to it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from hivewire import Client
from hivewire.connection import Connection
from hivewire.credentials import Credentials
from hivewire_tick_engine import fold

PROGRAM = """
from hivewire_tick_engine.main import main
from hivewire_service.settings import Settings
main(Settings.load())
"""

CALLABLES = {
    "double": "integration.callables:double",
    "raises": "integration.callables:raises",
    "never": "integration.callables:never",
    "floods": "integration.callables:floods",
}


@asynccontextmanager
async def engine(hive, **more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The tick engine as a process of its own."""
    settings = {
        "HIVEWIRE_HIVE": hive.name,
        "NATS_URL": hive.nats_url,
        "NATS_CREDS": str(hive.credentials("service")),
        "HIVEWIRE_POSTGRES_DSN": hive.postgres_dsn,
        "HIVEWIRE_METRICS_PORT": "0",
        "HIVEWIRE_CALLABLES": json.dumps(CALLABLES),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, env=os.environ | settings | more)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            assert await process.wait() == 0


@asynccontextmanager
async def operator(hive) -> AsyncIterator[Client]:
    credentials = Credentials.load(hive.credentials("operator"))
    async with await Connection.open(hive.nats_url, credentials, hive=hive.name) as connection:
        yield Client(connection)


async def differences(hive) -> list[str]:
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name})
    try:
        return await fold.differences(connection)
    finally:
        await connection.close()


def topology(agents: str, edges: str = "", **config):
    """`a b! c@` are agents: `!` an orchestrator, `@` remote. `a>b a=b` are edges, one of them bidirectional."""
    listed = []
    for name in agents.split():
        agent = {"id": name.rstrip("!@")}
        if "!" in name:
            agent["role"] = "orchestrator"
        if "@" in name:
            agent["agent_type"] = "remote"
        listed.append(agent)
    ways = [(*edge.replace("=", ">").split(">"), "=" in edge) for edge in edges.split()]
    graph = {"edges": [{"from": one, "to": other, "bidirectional": both} for one, other, both in ways]}
    return {"agents": listed, "graph": graph, "messages_per_tick": "all", **config}
