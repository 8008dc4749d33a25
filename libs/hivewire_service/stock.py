"""How things stand, told by the owner of a service when its metrics are asked for.

Counters and histograms are fed by the loop. Gauges would cost it a scan on every turn, and would be stale whenever the
loop stands still, which is when they matter. So they are taken at the time of asking, seldom enough to cost little.
"""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import asyncpg
import structlog
from prometheus_client import Gauge

from hivewire.events import Event
from hivewire.subjects import SERVICES
from hivewire_service import metrics
from hivewire_service.bus import TRANSIENT
from hivewire_service.store import CONNECTION_ERRORS

if TYPE_CHECKING:
    from hivewire_service.service import Service

log = structlog.get_logger()

FRESH_S = 1.0
"""Whoever asks again within this time gets the same numbers."""
REST_FACTOR = 20
"""After taking stock nothing is taken for so many times as long: it costs a twentieth of one connection's time at most."""
TAKING_S_MAX = 2.0
"""Much less than the ten seconds that Prometheus waits for an answer."""


class Meter:
    """What a service measures beyond what every service does. This one measures nothing."""

    gauges: ClassVar[Sequence[Gauge]] = ()
    """What `take_stock` sets. They have labels, so that they can be cleared when nothing is known."""

    def count(self, events: Sequence[Event]) -> None:
        """Count what a commit made true. It is part of the loop's turn."""

    async def take_stock(self, pool: asyncpg.Pool) -> None:
        """Set the gauges to how things stand."""


class Part:
    """Gauges that are taken together."""

    def __init__(self, take: Callable[[], Awaitable[None]], gauges: Sequence[Gauge]) -> None:
        self._take = take
        self._gauges = gauges
        self._due_s = 0.0
        self._taking = False

    def forget(self) -> None:
        """Say nothing."""
        for gauge in self._gauges:
            gauge.clear()

    async def take(self) -> None:
        """Bring the gauges up to date, unless they are, or are about to be. What cannot be had in time is not told."""
        begun_s = time.monotonic()
        if self._taking or begun_s < self._due_s:
            return
        self._taking = True
        try:
            async with asyncio.timeout(TAKING_S_MAX):
                await self._take()
        except (*TRANSIENT, *CONNECTION_ERRORS) as error:
            log.debug("stock not taken", error=str(error) or type(error).__name__)
            self.forget()
        else:
            now_s = time.monotonic()
            self._due_s = now_s + max(FRESH_S, REST_FACTOR * (now_s - begun_s))
        finally:
            self._taking = False


class Stock:
    """The gauges of one service, up to date whenever they are read.

    Args:
        service: whose.
        meter: what else it measures.
        data_dir: on whose disk everything is, where the service runs under `hivewire up`.
    """

    def __init__(self, service: "Service", meter: Meter, data_dir: Path | None) -> None:
        self._service = service
        self._data_dir = data_dir
        streams = {service.subjects.command_stream(name): name for name in SERVICES}
        self._streams = {**streams, service.subjects.event_stream: "events"}
        self._parts = (
            Part(self._take_backlog, (metrics.PUBLISH_BACKLOG,)),
            Part(self._take_streams, (metrics.COMMANDS_WAITING, metrics.STREAM_BYTES, metrics.STREAM_LIMIT_BYTES)),
            Part(self._take_store, (metrics.STORE_BYTES, metrics.STORE_LIMIT_BYTES)),
            Part(self._take_disk, (metrics.DISK_FREE_BYTES, metrics.DISK_SIZE_BYTES)),
            Part(lambda: meter.take_stock(service.store.pool), meter.gauges),
        )

    async def take(self) -> None:
        """Bring the gauges up to date; of a service that is not owned here nothing is told."""
        metrics.LEASE_OWNER.labels(self._service.name).set(self._service.owns())
        if self._service.owns():
            await asyncio.gather(*(part.take() for part in self._parts))
        if not self._service.owns():
            for part in self._parts:
                part.forget()

    async def _take_backlog(self) -> None:
        metrics.PUBLISH_BACKLOG.labels(self._service.name).set(self._service.publish_backlog)

    async def _take_streams(self) -> None:
        """Of all services: one that stands still cannot tell that its commands pile up."""
        teller = self._service.name
        for stream in (await self._ask("STREAM.LIST"))["streams"]:
            name = self._streams.get(stream["config"]["name"])
            if name is None:
                continue
            metrics.STREAM_BYTES.labels(teller, name).set(stream["state"]["bytes"])
            metrics.STREAM_LIMIT_BYTES.labels(teller, name).set(stream["config"]["max_bytes"])
            if name == teller:
                waiting = stream["state"]["last_seq"] - self._service.decided_seq
                metrics.COMMANDS_WAITING.labels(teller).set(max(0, waiting))

    async def _take_store(self) -> None:
        account = await self._ask("INFO")
        metrics.STORE_BYTES.labels(self._service.name).set(account["storage"])
        limit = account["limits"]["max_storage"]
        if limit > 0:
            metrics.STORE_LIMIT_BYTES.labels(self._service.name).set(limit)

    async def _ask(self, subject: str) -> dict[str, Any]:
        if not self._service.bus.connected:
            raise ConnectionError("NATS is away")  # a request would wait for it
        return await self._service.bus.api(subject)

    async def _take_disk(self) -> None:
        if self._data_dir is not None:
            usage = shutil.disk_usage(self._data_dir)
            metrics.DISK_FREE_BYTES.labels(self._service.name).set(usage.free)
            metrics.DISK_SIZE_BYTES.labels(self._service.name).set(usage.total)
