"""Feeding on what others say: another service's events, and the agents' beats.

Events alone are not trusted to arrive. At each beginning, whenever the way on which they come has changed, and every
minute, the other service's rows are read together with the number of its last event in one snapshot; events up to that
number are skipped.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import asyncpg
import structlog

from hivewire import codec, limits
from hivewire.events import of_writer
from hivewire.inbox import BEAT_TYPE, Beat
from hivewire_service import metrics
from hivewire_service.hearing import Hearing
from hivewire_service.quota import Quotas
from hivewire_service.service import Service
from hivewire_service.side_by_side import until_first_ends
from hivewire_service.store import CONNECTION_ERRORS
from hivewire_service.stream_reader import Received
from hivewire_service.topology import StreamState

log = structlog.get_logger()

REFRESH_S = 60.0

Snapshot = Callable[[asyncpg.Connection], Awaitable[Any]]
"""Reads the other service's rows and makes an observation of them."""


class Follower:
    """Feeds a service's core with the events of `writer` whose type fits `types`, such as `agent.*`."""

    def __init__(self, service: Service, writer: str, types: str, snapshot: Snapshot) -> None:
        self._service = service
        self._writer = writer
        self._types = types
        self._catalogue = of_writer(writer)
        self._snapshot = snapshot
        self._seen_seq = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        service = self._service
        hearing = Hearing(
            service.bus,
            stream=lambda: service.bus.stream_state(service.subjects.event_stream),
            filter_subject=service.subjects.stored_events(self._types),
            start=self._start,
            deliver=self._deliver,
            directly=service.subjects.events(self._types),
            missed=self._look,
        )
        await until_first_ends(hearing.run(), self._refresh())

    async def _start(self, stream: StreamState) -> int:
        """Begin behind what is in the stream now: whatever is older is in the snapshot, which is read after."""
        try:
            await self._observe_snapshot()
        except CONNECTION_ERRORS as error:
            raise ConnectionError(f"Postgres is not reachable: {error}") from error
        return stream.last_seq + 1

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            await self._look()

    async def _look(self) -> None:
        try:
            await self._observe_snapshot()
        except CONNECTION_ERRORS as error:
            log.warning("snapshot not read, trying again in a minute", writer=self._writer, error=str(error))

    async def _observe_snapshot(self) -> None:
        async with (
            self._service.store.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            seq = await connection.fetchval("SELECT event_seq FROM position WHERE service = $1", self._writer) or 0
            observation = await self._snapshot(cast(asyncpg.Connection, connection))
        if seq >= self._seen_seq:  # else events younger than the snapshot were seen while it was read
            self._seen_seq = seq
            self._service.observe(observation)

    def _deliver(self, received: Received) -> None:
        metrics.FOLLOW_LAG.labels(self._service.name, self._writer).set(received.waiting)
        envelope = codec.decode_envelope(received.body)
        if isinstance(envelope, codec.Malformed) or envelope.seq is None or envelope.seq <= self._seen_seq:
            return
        if not envelope.source.endswith(f"/{self._writer}"):
            return
        event = codec.decode_data(envelope, self._catalogue)
        if isinstance(event, codec.Malformed):
            log.warning("event not understood", type=envelope.type, reason=event.reason)
            return
        self._seen_seq = envelope.seq
        self._service.observe(event)


async def follow_beats(service: Service) -> None:
    """Feed a service's core with the beats of all agents, until cancelled."""
    quotas = Quotas(limits.BEATS_PER_SECOND)
    over_quota = metrics.OVER_QUOTA.labels(service.name, "beat")

    def receive(subject: str, body: bytes, *_: object) -> None:
        sender = service.subjects.beat_sender(subject)
        if quotas.take(sender, time.monotonic()):
            over_quota.inc()
            return
        envelope = codec.decode_envelope(body)
        if isinstance(envelope, codec.Malformed) or envelope.type != BEAT_TYPE:
            return
        beat = codec.decode_as(envelope.data, Beat, BEAT_TYPE)
        if isinstance(beat, Beat) and beat.agent_id == sender:
            service.observe_soon(beat)

    subscription = await service.bus.client.hear(service.subjects.beats(), receive)
    try:
        await asyncio.Event().wait()
    finally:
        if not service.bus.client.is_closed:
            await subscription.unsubscribe()
