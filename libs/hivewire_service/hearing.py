"""Hearing what a stream should bring, also while it brings nothing.

Postgres is the truth and a stream only a transport, so nobody has to wait for one. A stream whose leader's node was
killed has no leader until nats-server has elected another, which takes seconds, and JetStream may be out of order
altogether. Meanwhile what is published is heard directly, by a subscription of core NATS, which is there only as long as
the stream is not to be relied on:

    read --(two looks in a row failed)--> read and heard directly --(a look succeeded)--> read

What is heard directly has no place in the stream (`seq` 0), may be heard again from it, and is lost if nobody has room for
it. Whoever uses this must take repeats as such, and be told again what was lost: senders of commands repeat them, and
followers of events read rows.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

import structlog
from nats.aio.subscription import Subscription

from hivewire import limits
from hivewire.nats_client import Headers
from hivewire_service.bus import TRANSIENT, Bus
from hivewire_service.side_by_side import until_first_ends
from hivewire_service.stream_reader import DEAF_S, Received, StreamReader
from hivewire_service.topology import StreamState

log = structlog.get_logger()

LOOK_S = 0.25
LOOK_ALONE_S = 2.0
"""A stream without replicas has no leader to lose: it is looked at seldom, so that an idle hive costs little."""
LOOK_S_MAX = 0.4
"""A stream that has a leader answers sooner. With `LOOK_S` and two looks this is below `limits.REPEAT_FIRST_S`, so that what
was said before its leader's end was noticed is heard when it is said again."""
ROUND_TRIP_S_MAX = 1.0
QUIET_HEARTBEATS = 2.5
"""Two did not come."""

SILENCE_EVERY_S = 60.0
"""A stream that comes and goes must not move deadlines for ever."""


async def _nothing() -> None:
    """Nobody has to be told."""


class Hearing:
    """Reads a stream like a `StreamReader`, and hears `directly` what is published while the stream can't be relied on.

    `missed` is awaited whenever something may have been missed: after the direct hearing has begun, and after its end.
    """

    def __init__(
        self,
        bus: Bus,
        stream: Callable[[], Awaitable[StreamState]],
        filter_subject: str,
        start: Callable[[StreamState], Awaitable[int]],
        deliver: Callable[[Received], None],
        room: Callable[[], bool] = lambda: True,
        silence: Callable[[float], None] = lambda _: None,
        *,
        directly: str,
        missed: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self._bus = bus
        self._start = start
        self._deliver = deliver
        self._room = room
        self._silence = silence
        self._subject = directly
        self._missed = missed
        self._reader = StreamReader(bus, stream, filter_subject, self._begin, deliver, room, self._unread)
        self._subscription: Subscription | None = None
        self._readable_s = time.monotonic()
        """When the stream was found readable last."""
        self._heard_s = -math.inf
        """When the server answered last while it was heard directly."""
        self._gap_s = -math.inf
        """When such a gap counted as silence last."""
        self.repeats_until: float = math.inf
        """A message of the stream up to this number may have been heard directly before, by this owner or an earlier."""

    @property
    def is_direct(self) -> bool:
        """Whether messages are heard directly."""
        return self._subscription is not None

    @property
    def is_deaf(self) -> bool:
        """Whether neither the stream nor the server has been heard of, although they should have."""
        return self._reader.is_deaf and time.monotonic() - self._heard_s > DEAF_S

    async def run(self) -> None:
        """Hear until cancelled."""
        try:
            await until_first_ends(self._reader.run(), self._watch())
        finally:
            await self._unsubscribe()

    async def resume(self) -> None:
        """Fetch more, if nothing is being fetched: called when room was made."""
        await self._reader.resume()

    async def _begin(self, stream: StreamState) -> int:
        if not self.is_direct:
            self.repeats_until = stream.last_seq
        return await self._start(stream)

    def _unread(self, seconds: float) -> None:
        """The stream was not heard of for so long. What was heard directly meanwhile was no silence."""
        self._silence(min(seconds, time.monotonic() - self._heard_s))

    # looking --------------------------------------------------------------------------------------------
    async def _watch(self) -> None:
        missing = 0
        while True:
            if not missing or self.is_direct:
                await asyncio.sleep(LOOK_S if self._may_lose_its_leader or self.is_direct else LOOK_ALONE_S)
            # By looks and not by time: a process that was held up itself must not think that of the stream.
            missing = 0 if await self._is_readable() else missing + 1
            if not missing:
                self._readable_s = time.monotonic()
            try:
                if self.is_direct:
                    await self._stay(ending=not missing)
                elif missing > 1:
                    await self._listen()
                elif not missing and self.repeats_until == math.inf:
                    await self._settle()
            except TRANSIENT as error:
                log.debug("not heard directly", subject=self._subject, error=str(error) or type(error).__name__)
                await asyncio.sleep(LOOK_S)

    @property
    def _may_lose_its_leader(self) -> bool:
        return self._reader.stream is None or self._reader.stream.replicas > 1

    async def _is_readable(self) -> bool:
        """Whether the reader hears of the stream and, in a cluster, the stream has a leader that takes messages."""
        stream = self._reader.stream
        if stream is None or self._reader.unheard_s > QUIET_HEARTBEATS * stream.heartbeat_s:
            await asyncio.sleep(LOOK_S)
            return False
        if not self._may_lose_its_leader:
            return True
        try:
            await self._bus.stream_state(stream.name, LOOK_S_MAX)
        except TRANSIENT:
            return False
        return True

    # hearing --------------------------------------------------------------------------------------------
    async def _listen(self) -> None:
        self.repeats_until = math.inf
        self._subscription = await self._bus.client.hear(self._subject, self._receive)
        try:
            await self._round_trip()
        except TRANSIENT:
            await self._unsubscribe()
            raise
        if self._heard_s - self._gap_s > SILENCE_EVERY_S:
            self._gap_s = self._heard_s
            # What was said before is said again within the longest pause between two repeats.
            self._silence(self._heard_s - self._readable_s + limits.REPEAT_MAX_S)
        log.warning("the stream can't be read, hearing directly", subject=self._subject)
        await self._missed()

    async def _stay(self, *, ending: bool) -> None:
        before_s = self._heard_s
        await self._round_trip()
        if self._heard_s - before_s > DEAF_S:
            self._silence(self._heard_s - before_s)
        if ending:
            await self._unsubscribe()
            await self._settle()

    async def _settle(self) -> None:
        """Whatever was heard directly is in the stream by now, if it ever will be."""
        assert self._reader.stream is not None  # else it could not be read
        self.repeats_until = (await self._bus.stream_state(self._reader.stream.name)).last_seq
        log.info("the stream can be read", subject=self._subject)
        await self._missed()

    async def _round_trip(self) -> None:
        await self._bus.round_trip(ROUND_TRIP_S_MAX)
        self._heard_s = time.monotonic()

    async def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._bus.client.is_closed:
            await subscription.unsubscribe()

    def _receive(self, subject: str, body: bytes, _: str, headers: Headers) -> None:
        """What the stream would not take is not taken here either; what there is no room for is said again."""
        if len(body) <= limits.MESSAGE_BYTES_MAX and self._room():
            self._deliver(Received("", 0, time.time_ns(), 0, subject, body, headers))
