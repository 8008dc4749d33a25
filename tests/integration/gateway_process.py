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

ALL = """
import asyncio
from hivewire_agent_gateway.main import DEFINITION as gateway
from hivewire_broker.main import DEFINITION as broker
from hivewire_conversation.main import DEFINITION as conversation
from hivewire_service.logging import configure
from hivewire_service.run import run
from hivewire_service.settings import Settings
from hivewire_service.side_by_side import until_first_ends
from hivewire_tick_engine.main import DEFINITION as tick_engine
configure(style="json")
settings = Settings.load()
quiet = settings.model_copy(update={"metrics_port": 0})
others = (run(service, quiet) for service in (broker, conversation, tick_engine))
asyncio.run(until_first_ends(run(gateway, settings), *others))
"""
"""The four services in one process: they start in a fraction of the time."""


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
    program = ALL if service == "all" else PROGRAM.format(service=service)
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
