"""Publishing what was committed.

Events are published right after their commit and their PubAcks counted behind the loop. The watermark is the last event
up to which all are acknowledged; it goes into the next commit. Whenever acks fail to come (a lost connection, a stream
that is gone, a crash), the rows past the watermark are published again from Postgres: at least once, and in order
within each writer.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec
import structlog
from nats.aio.msg import Msg

from hivewire import codec, limits
from hivewire.envelope import Envelope
from hivewire.ids import event_id
from hivewire.subjects import Subjects
from hivewire_service.bus import RETRY_PAUSE_S, TRANSIENT, Bus
from hivewire_service.store import CONNECTION_ERRORS, Position, Store, StoredEvent
from hivewire_service.topology import event_stream

log = structlog.get_logger()

ACK_TIMEOUT_S = 5.0
UNACKED_MAX = 20_000
CATCH_UP_EVENTS = 500


class PubAck(msgspec.Struct):
    """JetStream's answer to a publish. Without `error` the message is stored."""

    error: dict[str, object] | None = None


_acks = msgspec.json.Decoder(PubAck)


class Outbox:
    """Publishes one writer's events for as long as it is the owner.

    It publishes live while all goes well; else it is *behind* and reads from Postgres until it has caught up.
    """

    def __init__(
        self,
        bus: Bus,
        store: Store,
        subjects: Subjects,
        position: Position,
        replicas: int,
        clock: Callable[[], datetime],
    ) -> None:
        self._bus = bus
        self._store = store
        self._subjects = subjects
        self.event_stream_created = position.event_stream_created
        self._replicas = replicas
        self._clock = clock
        self._inbox = bus.client.new_inbox()
        self._unacked: OrderedDict[int, float] = OrderedDict()
        self._committed = position.event_seq
        self._sent = position.published_seq
        self._live = False
        self._fell_behind = asyncio.Event()
        self._chunk_done = asyncio.Event()

    @property
    def backlog(self) -> int:
        """Committed events that are not known to be on the bus."""
        return self._committed - self.published_seq

    @property
    def published_seq(self) -> int:
        """The watermark: every event up to it is on the bus."""
        return next(iter(self._unacked), self._sent + 1) - 1

    def fall_behind(self) -> None:
        """What was sent and not acknowledged is uncertain: publish it again from Postgres."""
        self._live = False
        self._fell_behind.set()

    async def publish(self, events: Sequence[StoredEvent]) -> None:
        """Publish events just committed; when behind, they are left to the catching up, which reads them as rows."""
        if not events:
            return
        self._committed = events[-1].seq
        if len(self._unacked) > UNACKED_MAX:
            self.fall_behind()
        for event in events if self._live else ():
            await self._send(event)

    async def run(self) -> None:
        """Catch up, then watch over the acks, until cancelled."""
        subscription = await self._bus.client.subscribe(f"{self._inbox}.*", cb=self._receive)
        try:
            with self._bus.calling_on_reconnect(self.fall_behind):
                while True:
                    if not self._live:
                        await self._catch_up()
                    await self._overdue()
        finally:
            if not self._bus.client.is_closed:
                await subscription.unsubscribe()

    async def _send(self, event: StoredEvent) -> None:
        self._unacked[event.seq] = time.monotonic()
        self._sent = event.seq
        subject = self._subjects.event(event.type, event.entity_id)
        if not await self._bus.publish(subject, self._envelope(event), reply=f"{self._inbox}.{event.seq}"):
            self.fall_behind()

    def _envelope(self, event: StoredEvent) -> bytes:
        writer = self._store.service
        return codec.encode(
            Envelope(
                id=event_id(self._subjects.hive, writer, event.seq),
                type=event.type,
                source=f"/{self._subjects.hive}/{writer}",
                subject=event.entity_id,
                time=event.recorded_at,
                causationid=event.causation_id,
                correlationid=event.correlation_id,
                traceparent=event.traceparent,
                seq=event.seq,
                data=msgspec.Raw(event.data),
            )
        )

    async def _receive(self, message: Msg) -> None:
        seq = int(message.subject.rpartition(".")[2])
        try:
            refused = not message.data or _acks.decode(message.data).error
        except msgspec.DecodeError:
            refused = True
        if refused:
            # No responders (the stream is gone) or an error: the event is not on the bus.
            self.fall_behind()
            self._chunk_done.set()
            return
        self._unacked.pop(seq, None)
        if not self._unacked:
            self._chunk_done.set()

    async def _overdue(self) -> None:
        """Return when something has to be published again."""
        try:
            await asyncio.wait_for(self._fell_behind.wait(), ACK_TIMEOUT_S)
        except TimeoutError:
            oldest = next(iter(self._unacked.values()), None)
            if oldest is not None and time.monotonic() - oldest > ACK_TIMEOUT_S:
                log.warning("events were not acknowledged, publishing them again", unacknowledged=len(self._unacked))
                self.fall_behind()

    async def _catch_up(self) -> None:
        """Publish the rows past the watermark, a chunk at a time, until nothing committed is left; then go live."""
        self._fell_behind.clear()
        try:
            await self._prepare_stream()
            self._sent = self.published_seq
            self._unacked.clear()
            while self._sent < self._committed:
                await self._publish_chunk()
            self._live = not self._fell_behind.is_set()
        except (*TRANSIENT, *CONNECTION_ERRORS) as error:
            log.debug("events can't be published yet, trying again", error=str(error) or type(error).__name__)
            await asyncio.sleep(RETRY_PAUSE_S)
            self.fall_behind()

    async def _publish_chunk(self) -> None:
        before = self._sent
        self._chunk_done.clear()
        for event in await self._store.events_after(before, self._committed, CATCH_UP_EVENTS):
            await self._send(event)
        try:
            await asyncio.wait_for(self._chunk_done.wait(), ACK_TIMEOUT_S)
        finally:
            if self._unacked:
                self._sent = self.published_seq
                self._unacked.clear()
        if self._sent == before:
            raise TimeoutError("the event stream took none of the events")

    async def _prepare_stream(self) -> None:
        """Make sure of the event stream; a new one gets the recent history again."""
        stream = await self._bus.ensure_stream(event_stream(self._subjects, self._replicas))
        if stream.created == self.event_stream_created:
            return
        if self.event_stream_created is not None:
            since = self._clock() - timedelta(seconds=limits.EVENTS_REPUBLISHED_S)
            recent = await self._store.seq_before(since, self._committed)
            self._sent = min(self.published_seq, recent)
            self._unacked.clear()
            log.warning("the event stream is new, publishing recent history again", first_seq=self._sent + 1)
        self.event_stream_created = stream.created
