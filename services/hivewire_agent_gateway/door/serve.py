"""Wires a door."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address

import structlog

from hivewire.errors import BadUsage
from hivewire.ids import new_id
from hivewire_agent_gateway.credentials import Admission
from hivewire_agent_gateway.door.answers import Answers
from hivewire_agent_gateway.door.app import application
from hivewire_agent_gateway.door.bridge import Bridges
from hivewire_agent_gateway.door.callers import REVOKED, Callers, Rates
from hivewire_agent_gateway.door.endpoints import Endpoints
from hivewire_agent_gateway.door.frames import FRAME_BYTES_MAX
from hivewire_agent_gateway.door.place import Place
from hivewire_agent_gateway.outbound import Outbound
from hivewire_agent_gateway.tokens import Tokens
from hivewire_service.deputy import Deputy, deputy
from hivewire_service.health import serving
from hivewire_service.run import Surroundings
from hivewire_service.settings import Settings

log = structlog.get_logger()


@asynccontextmanager
async def door(around: Surroundings) -> AsyncIterator[None]:
    """A door, open as long as the context lasts.

    Raises:
        BadUsage: it would trust ids although others than this machine can reach it, or its certificate cannot be used.
        HivewireError: the port is in use.
    """
    settings = around.settings
    if settings.open and not _is_loopback(settings.http_host):
        raise BadUsage(f"--open is for loopback only: anybody could call on {settings.http_host}")
    async with AsyncExitStack() as stack:
        line = await stack.enter_async_context(await deputy(settings))
        place = _place(around, settings, line)
        stack.push_async_callback(place.outbound.close)
        answers = Answers(place)
        stack.push_async_callback(answers.finish)
        bridges = Bridges(place, answers)
        await bridges.begin()
        await line.listen(place.subjects.door("all", REVOKED), place.callers.hear)
        app = application(place, bridges)
        port = await stack.enter_async_context(
            serving(app, settings.http_port, settings.http_host, frame_bytes_max=FRAME_BYTES_MAX, tls=settings.http_tls)
        )
        scheme = "https" if settings.http_tls else "http"
        place.public_url = settings.public_url or f"{scheme}://{settings.http_host}:{port}"
        stack.callback(place.closing.set)
        await stack.enter_async_context(Endpoints(place, answers, new_id()).open())
        log.info("door is open", host=settings.http_host, port=port, trusts_ids=settings.open)
        yield


def _place(around: Surroundings, settings: Settings, line: Deputy) -> Place:
    return Place(
        subjects=around.subjects,
        bus=around.bus,
        line=line,
        pool=around.store.pool,
        health=around.health,
        callers=Callers(around.store.pool, trusts_ids=settings.open),
        rates=Rates(settings.requests_per_minute),
        outbound=Outbound.of(settings),
        tokens=Tokens(Admission.of(settings), around.bus, around.subjects),
        public_url="",
        heartbeat_s=settings.heartbeat_seconds,
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
