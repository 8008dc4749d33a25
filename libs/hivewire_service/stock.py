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
from hivewire_service import metrics
from hivewire_service.bus import TRANSIENT
from hivewire_service.store import CONNECTION_ERRORS

if TYPE_CHECKING:
    from hivewire_service.service import Service

log = structlog.get_logger()

FRESH_S = 1.0
"""Whoever asks again within this time gets the same numbers."""
REST_FACTOR = 20
"""After taking stock nothing is taken for so many times as long: it costs a twentieth of one connection at most."""
TAKING_S_MAX = 5.0
"""Less than the ten seconds that Prometheus waits for an answer."""

Part = Callable[[], Awaitable[None]]


class Meter:
    """What a service measures beyond what every service does. This one measures nothing."""

    gauges: ClassVar[Sequence[Gauge]] = ()
    """What `take_stock` sets. They have labels, so that they can be cleared when nothing is known."""

    def count(self, events: Sequence[Event]) -> None:
        """Count what a commit made true. It is part of the loop's turn."""

    async def take_stock(self, pool: asyncpg.Pool) -> None:
        """Set the gauges to how things stand."""


class Stock:
    """The gauges of one service, up to date whenever they are read.

    Args:
        service: whose.
        meter: what else it measures.
        data_dir: on whose disk everything is, where the service runs under `hivewire up`.
    """

    def __init__(self, service: "Service", meter: Meter, data_dir: Path | None) -> None:
        self._service = service
        self._meter = meter
        self._data_dir = data_dir
        self._due_s = 0.0
        self._taking = False

    async def take(self) -> None:
        """Bring the gauges up to date. What cannot be had in time is absent, never stale."""
        if not self._service.owns():
            self._forget()
            return
        if self._taking or time.monotonic() < self._due_s:
            return
        self._taking = True
        begun_s = time.monotonic()
        try:
            await asyncio.gather(*(self._part(part, gauges) for part, gauges in self._parts()))
        finally:
            now_s = time.monotonic()
            self._due_s = now_s + max(FRESH_S, REST_FACTOR * (now_s - begun_s))
            self._taking = False
        if not self._service.owns():
            self._forget()

    def _parts(self) -> Sequence[tuple[Part, Sequence[Gauge]]]:
        return (
            (self._backlog, (metrics.PUBLISH_BACKLOG,)),
            (self._streams, (metrics.COMMANDS_WAITING, metrics.STREAM_BYTES, metrics.STREAM_LIMIT_BYTES)),
            (self._store, (metrics.STORE_BYTES, metrics.STORE_LIMIT_BYTES)),
            (self._disk, (metrics.DISK_FREE_BYTES, metrics.DISK_SIZE_BYTES)),
            (lambda: self._meter.take_stock(self._service.store.pool), self._meter.gauges),
        )

    def _forget(self) -> None:
        for _, gauges in self._parts():
            _clear(gauges)

    async def _part(self, part: Part, gauges: Sequence[Gauge]) -> None:
        try:
            async with asyncio.timeout(TAKING_S_MAX):
                await part()
        except (*TRANSIENT, *CONNECTION_ERRORS) as error:
            log.debug("stock not taken", service=self._service.name, error=str(error) or type(error).__name__)
            _clear(gauges)

    async def _backlog(self) -> None:
        metrics.PUBLISH_BACKLOG.labels(self._service.name).set(self._service.publish_backlog)

    async def _streams(self) -> None:
        service = self._service
        names = {"commands": service.subjects.command_stream(service.name), "events": service.subjects.event_stream}
        for label, name in names.items():
            stream = await self._ask(f"STREAM.INFO.{name}")
            metrics.STREAM_BYTES.labels(service.name, label).set(stream["state"]["bytes"])
            metrics.STREAM_LIMIT_BYTES.labels(service.name, label).set(stream["config"]["max_bytes"])
            if label == "commands":
                waiting = stream["state"]["last_seq"] - service.decided_seq
                metrics.COMMANDS_WAITING.labels(service.name).set(max(0, waiting))

    async def _store(self) -> None:
        account = await self._ask("INFO")
        metrics.STORE_BYTES.labels(self._service.name).set(account["storage"])
        limit = account["limits"]["max_storage"]
        if limit > 0:
            metrics.STORE_LIMIT_BYTES.labels(self._service.name).set(limit)

    async def _ask(self, subject: str) -> dict[str, Any]:
        if not self._service.bus.connected:
            raise ConnectionError("NATS is away")  # a request would wait for it
        return await self._service.bus.api(subject)

    async def _disk(self) -> None:
        if self._data_dir is not None:
            usage = shutil.disk_usage(self._data_dir)
            metrics.DISK_FREE_BYTES.labels(self._service.name).set(usage.free)
            metrics.DISK_SIZE_BYTES.labels(self._service.name).set(usage.total)


def _clear(gauges: Sequence[Gauge]) -> None:
    for gauge in gauges:
        gauge.clear()
