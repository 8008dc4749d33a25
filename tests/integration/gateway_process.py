"""Services as processes of their own, for tests that need more than one."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PROGRAM = """
from hivewire_{service}.main import main
from hivewire_service.settings import Settings
main(Settings.load())
"""


async def start(hive, service: str, **settings: str) -> asyncio.subprocess.Process:
    """Start a service; the caller ends it."""
    environment = {
        "HIVEWIRE_HIVE": hive.name,
        "NATS_URL": hive.nats_url,
        "NATS_CREDS": str(hive.credentials("service")),
        "HIVEWIRE_POSTGRES_DSN": hive.postgres_dsn,
        "HIVEWIRE_KEYS_FILE": str(hive.keys_file),
        "HIVEWIRE_AUTHORITY_FILE": str(hive.authority_file),
        "HIVEWIRE_METRICS_PORT": "0",
        "HIVEWIRE_HTTP_PORT": "0",
    }
    program = PROGRAM.format(service=service)
    return await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=os.environ | environment | settings)


@asynccontextmanager
async def process(hive, service: str, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A service until the context ends, when it has to stop cleanly."""
    running = await start(hive, service, **settings)
    try:
        yield running
    finally:
        running.terminate()
        assert await running.wait() == 0


def gateway(hive, **settings: str):
    """The agent gateway."""
    return process(hive, "agent_gateway", **settings)


def broker(hive, **settings: str):
    """The broker."""
    return process(hive, "broker", **settings)
