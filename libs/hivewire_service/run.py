"""A service as a process: connects, serves its health, runs the loop and ends cleanly."""

import asyncio
import gc
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version

import structlog

from hivewire.errors import HivewireError
from hivewire.subjects import Subjects
from hivewire_service import history, metrics
from hivewire_service.answer import Answers, Query
from hivewire_service.bus import Bus
from hivewire_service.clock import SystemClock
from hivewire_service.health import Health, serving
from hivewire_service.lease import Lease
from hivewire_service.migrations import migrate
from hivewire_service.retention import Periods
from hivewire_service.service import Parts, Service
from hivewire_service.settings import Settings
from hivewire_service.stock import Stock
from hivewire_service.store import Store

log = structlog.get_logger()

SENDER = "service"
"""The name in the services' credentials, and so the prefix of their inboxes."""
GARBAGE_THRESHOLDS = (50_000, 20, 50)
"""A batch makes some ten thousand objects that live until its end. Python's own thresholds would look through all of
them again and again while it grows."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a service's process has, for whatever runs in it beside the loop."""

    settings: Settings
    subjects: Subjects
    bus: Bus
    store: Store
    health: Health


@dataclass(frozen=True, slots=True)
class Definition:
    """A service, as its `main` module wires it."""

    name: str
    parts: Callable[[Settings, Subjects], Parts]
    reads: Mapping[str, Query]
    admin: Callable[[Surroundings], Mapping[str, Query]] = field(default=lambda _: {})
    door: Callable[[Surroundings], AbstractAsyncContextManager[None]] | None = None
    """Serves the hive's HTTP port. Any number of processes may be doors, beside the owner or within it."""


async def run(definition: Definition, settings: Settings) -> None:
    """Run a service until SIGINT or SIGTERM.

    Raises:
        HivewireError: something that the service needs cannot be had, or NATS closed the connection for good.
    """
    subjects = Subjects(settings.hive)
    dsn = settings.postgres_dsn.get_secret_value()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    for seldom in (metrics.SILENCE_SECONDS, metrics.COMMITS_FENCED):
        seldom.labels(definition.name)  # is 0 from the start: the first increase of what was not there is not seen
    async with AsyncExitStack() as stack:
        await migrate(dsn, settings.hive)
        store = Store(dsn, settings.hive, definition.name)
        await store.open()
        stack.push_async_callback(store.close)
        credentials = str(settings.nats_creds) if settings.nats_creds else None
        bus = Bus(settings.nats_url, credentials, SENDER, f"hivewire {definition.name}", settings.nats_tls)
        await bus.connect()
        stack.push_async_callback(bus.close)
        health = Health({"nats": lambda: _is_connected(bus), "postgres": lambda: _answers(store)})
        port = await stack.enter_async_context(serving(health.app, settings.metrics_port, settings.metrics_host))
        around = Surroundings(settings, subjects, bus, store, health)
        reads = {**definition.reads, **history.READS}
        answers = Answers(
            definition.name, bus, store, subjects, reads, definition.admin(around), settings.reads_per_second
        )
        await answers.start(version("hivewire"))
        if definition.door and settings.part != "core":
            await stack.enter_async_context(definition.door(around))
        if definition.door and settings.part == "door":
            health.set(role="door", loading=False)
            log.info("started a door", service=definition.name, hive=settings.hive, metrics_port=port)
            await _until_told(bus)
            return
        parts = definition.parts(settings, subjects)
        service = Service(
            definition.name,
            parts,
            bus=bus,
            store=store,
            lease=Lease(store, settings.lease_seconds),
            subjects=subjects,
            clock=SystemClock(),
            health=health,
            stream_replicas=settings.stream_replicas,
            commands_per_second=settings.commands_per_second,
            periods=Periods(timedelta(days=settings.history_days), timedelta(days=settings.ended_days)),
        )
        health.take_stock = Stock(service, parts.meter, settings.data).take
        log.info("started", service=definition.name, hive=settings.hive, metrics_port=port)
        await _until_stopped(service, bus)
        log.info("stopped", service=definition.name)


async def _until_stopped(service: Service, bus: Bus) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, service.stop)
    running = asyncio.ensure_future(service.run())
    closed = asyncio.ensure_future(bus.closed.wait())
    try:
        await asyncio.wait((running, closed), return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise HivewireError("NATS closed the connection for good; see the log above for the reason")
        await running
    finally:
        closed.cancel()
        running.cancel()


async def _until_told(bus: Bus) -> None:
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    waits = [asyncio.ensure_future(event.wait()) for event in (told, bus.closed)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    if not told.is_set():
        raise HivewireError("NATS closed the connection for good; see the log above for the reason")


async def _is_connected(bus: Bus) -> bool:
    return bus.connected


async def _answers(store: Store) -> bool:
    return bool(await store.pool.fetchval("SELECT true"))
