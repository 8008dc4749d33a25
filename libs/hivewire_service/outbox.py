"""Publishing what was committed.

Events are published right after their commit and their PubAcks counted behind the loop. The watermark is the last event
up to which all are acknowledged; it goes into the next commit. Whenever acks fail to come (a lost connection, a stream
that is gone, a crash), the rows past the watermark are published again from Postgres: at least once, and in order
within each writer.

Whoever listens does not have to wait until there is a stream again: meanwhile events are told to listeners alone, in
order too. The stream does not take these, since in it they would come before those that it lacks.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec
import structlog

from hivewire import codec, limits
from hivewire.envelope import Envelope
from hivewire.ids import event_id
from hivewire.subjects import Subjects
from hivewire_service.bus import RETRY_PAUSE_S, TRANSIENT, Bus
from hivewire_service.store import CONNECTION_ERRORS, Position, Store, StoredEvent
from hivewire_service.topology import event_stream

log = structlog.get_logger()

ACK_TIMEOUT_S = 2.0
"""A chunk of rows is acknowledged sooner, unless something is wrong."""
STUCK_LOOK_S = 0.4
STUCK_LOOKS_MAX = 3
"""After so many looks at the same unacknowledged event in a row the stream is taken to be out of order."""
FOR_LISTENERS = {"Nats-Expected-Stream": "none"}
"""A header by which JetStream refuses to store a message in any stream."""
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
        self._unacked: OrderedDict[int, None] = OrderedDict()
        self._committed = position.event_seq
        self._sent = position.published_seq
        self._told = position.published_seq
        """The last event that listeners may have heard, with all before it."""
        self._live = False
        self._is_out = False
        """Whether the stream is not known to take events, so that listeners are told without it."""
        self._fell_behind = asyncio.Event()
        self._news = asyncio.Event()
        """It fell behind; or it rested, and there is something again whose ack has to be watched for."""
        self._rests = False
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
        self._is_out = True
        self._fell_behind.set()
        self._news.set()

    def _reconnected(self) -> None:
        """What was sent over the lost connection may not have been heard by anybody."""
        self._told = min(self._told, self.published_seq)
        self.fall_behind()

    async def publish(self, events: Sequence[StoredEvent]) -> None:
        """Publish events just committed; when behind, they are left to the catching up, which reads them as rows, and
        are told to listeners if these have heard all before."""
        if not events:
            return
        self._committed = events[-1].seq
        if len(self._unacked) > UNACKED_MAX:
            self.fall_behind()
        for event in events:
            if self._live:
                await self._send(event)
            elif self._is_out and self._bus.connected and self._told == event.seq - 1:
                await self._tell(event)

    async def run(self) -> None:
        """Catch up, then watch over the acks, until cancelled."""
        subscription = await self._bus.client.hear(f"{self._inbox}.*", self._acked)
        try:
            with self._bus.calling_on_reconnect(self._reconnected):
                while True:
                    if not self._live:
                        await self._catch_up()
                    await self._overdue()
        finally:
            if not self._bus.client.is_closed:
                await subscription.unsubscribe()

    async def _send(self, event: StoredEvent) -> None:
        self._unacked[event.seq] = None
        if self._rests:
            self._news.set()
        self._sent = event.seq
        subject = self._subjects.event(event.type, event.entity_id)
        if await self._bus.publish(subject, self._envelope(event), reply=f"{self._inbox}.{event.seq}"):
            self._told = max(self._told, event.seq)
        else:
            self.fall_behind()

    async def _tell(self, event: StoredEvent) -> None:
        subject = self._subjects.event(event.type, event.entity_id)
        await self._bus.publish(subject, self._envelope(event), headers=FOR_LISTENERS)
        self._told = event.seq

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

    def _acked(self, subject: str, body: bytes, *_: object) -> None:
        seq = int(subject.rpartition(".")[2])
        try:
            refused = not body or _acks.decode(body).error
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
        oldest, looks = 0, 0
        while not self._fell_behind.is_set():
            self._news.clear()
            self._rests = not self._unacked
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if self._rests else STUCK_LOOK_S):
                    await self._news.wait()
            self._rests = False
            before, oldest = oldest, next(iter(self._unacked), 0)
            looks = looks + 1 if oldest and oldest == before else 0
            if looks >= STUCK_LOOKS_MAX:
                log.warning("events were not acknowledged, publishing them again", unacknowledged=len(self._unacked))
                self.fall_behind()

    async def _catch_up(self) -> None:
        """Publish the rows past the watermark, a chunk at a time, until nothing committed is left; then go live."""
        self._fell_behind.clear()
        try:
            if self._is_out:
                await self._tell_the_rest()
            await self._prepare_stream()
            self._is_out = False
            self._sent = self.published_seq
            self._unacked.clear()
            while self._sent < self._committed:
                await self._publish_chunk()
            self._live = not self._fell_behind.is_set()
        except (*TRANSIENT, *CONNECTION_ERRORS) as error:
            log.debug("events can't be published yet, trying again", error=str(error) or type(error).__name__)
            await asyncio.sleep(RETRY_PAUSE_S)
            self.fall_behind()

    async def _tell_the_rest(self) -> None:
        """Tell listeners what they have not heard; `publish` goes on from there."""
        while self._bus.connected and (
            events := await self._store.events_after(self._told, self._committed, CATCH_UP_EVENTS)
        ):
            for event in events:
                await self._tell(event)

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
