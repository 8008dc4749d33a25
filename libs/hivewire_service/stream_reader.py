"""Reading a stream of JetStream in order.

A reader asks for messages with pull requests of its own and takes them without acks: the place up to which a stream was
dealt with is known to Postgres alone.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec
import nats.errors
import structlog
from nats.aio.subscription import Subscription

from hivewire.ids import new_id
from hivewire.nats_client import Headers
from hivewire_service.bus import RETRY_PAUSE_S, TRANSIENT, Bus
from hivewire_service.topology import NANOSECONDS, StreamState

log = structlog.get_logger()

PULL_MESSAGES = 1_000
PULL_BYTES = 8 * 1024 * 1024
PULL_EXPIRES_S = 30.0
LOOK_HEARTBEATS = 2
SILENT_HEARTBEATS = 4
"""A reader that did not hear of so many begins anew."""
DEAF_S = 7.5
"""After this long without a heartbeat the server is out of reach, even where the connection still stands."""


class Received(msgspec.Struct, frozen=True, gc=False):
    """A message of a stream. `ns` is the time at which the server stored it, in nanoseconds since 1970.

    `seq` 0: it was heard directly, and has no place in the stream.
    """

    stream_created: str
    seq: int
    ns: int
    waiting: int
    subject: str
    body: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class Place:
    """The last message dealt with, by which a stream is recognised. `seq` 0: none."""

    stream_created: str | None = None
    seq: int = 0
    ns: int = 0


async def next_seq(bus: Bus, stream: StreamState, last: Place) -> int:
    """Where to go on after `last`: behind it, or at the stream's first message if the stream is another one or lost
    its tail. Reading a message again is harmless; leaving one out is not."""
    if stream.created != last.stream_created or last.seq == 0:
        return max(stream.first_seq, 1)
    if last.seq < stream.first_seq:
        return stream.first_seq
    kept_ns = await bus.message_ns(stream.name, last.seq) if last.seq <= stream.last_seq else None
    if kept_ns != last.ns:
        log.warning("stream lost its tail, reading it from its first message", stream=stream.name, seq=last.seq)
        return max(stream.first_seq, 1)
    return last.seq + 1


class StreamReader:
    """Reads a stream in order, for ever, without acks.

    `deliver` gets each message; `room` tells whether more may be fetched. `start` is asked for the first sequence number
    each time the reading begins anew: at the start, after a reconnection, and when something was missed.
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
    ) -> None:
        self._bus = bus
        self._stream = stream
        self._filter = filter_subject
        self._start = start
        self._deliver = deliver
        self._room = room
        self._silence = silence
        self._is_broken = False
        self._news = asyncio.Event()
        """It is broken, or all that was asked for has come."""
        self._begun = False
        self._answered = True
        self._asked = self._heard = time.monotonic()
        self._current: StreamState | None = None
        self._consumer = ""
        self._inbox = ""
        self._pull = 0
        self._remaining = 0
        self._consumer_seq = 0
        self._subscription: Subscription | None = None

    @property
    def stream(self) -> StreamState | None:
        """The stream as it stood when the reading began."""
        return self._current

    @property
    def unheard_s(self) -> float:
        """For how long the server was not heard of, although it should have been."""
        expects = not self._begun or self._remaining > 0
        return time.monotonic() - self._heard if expects else 0.0

    @property
    def is_deaf(self) -> bool:
        """Whether the server is out of reach."""
        return self.unheard_s > DEAF_S

    async def run(self) -> None:
        """Read until cancelled."""
        try:
            with self._bus.calling_on_reconnect(self._break):
                while True:
                    await self._begin()
                    await self._watch()
        finally:
            await self._end()

    async def resume(self) -> None:
        """Fetch more, if nothing is being fetched: called when room was made."""
        if self._remaining == 0 and self._begun and self._room():
            self._heard = time.monotonic()  # before, there was nothing to be heard
            await self._request()

    async def _begin(self) -> None:
        self._begun = self._answered = False
        while not self._begun:
            self._is_broken = False
            try:
                await self._end()
                self._current = await self._stream()
                first = await self._start(self._current)
                await self._consume_from(self._current.name, first)
            except TRANSIENT as error:
                log.debug("stream can't be read yet, trying again", error=str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_PAUSE_S)
            else:
                self._begun = True

    async def _consume_from(self, stream: str, first: int) -> None:
        self._consumer = f"reader-{new_id()}"
        self._inbox = self._bus.client.new_inbox()
        self._consumer_seq = 0
        self._subscription = await self._bus.client.hear(f"{self._inbox}.*", self._receive)
        await self._bus.api(
            f"CONSUMER.CREATE.{stream}.{self._consumer}.{self._filter}",
            {
                "stream_name": stream,
                "config": {
                    "name": self._consumer,
                    "deliver_policy": "by_start_sequence",
                    "opt_start_seq": first,
                    "ack_policy": "none",
                    "replay_policy": "instant",
                    "filter_subject": self._filter,
                    "mem_storage": True,
                    "num_replicas": 1,
                    "inactive_threshold": int(2 * PULL_EXPIRES_S * NANOSECONDS),
                },
            },
        )
        await self._request()

    async def _request(self) -> None:
        assert self._current is not None
        self._pull += 1
        self._remaining = PULL_MESSAGES
        self._asked = time.monotonic()
        request = {
            "batch": PULL_MESSAGES,
            "max_bytes": PULL_BYTES,
            "expires": int(PULL_EXPIRES_S * NANOSECONDS),
            "idle_heartbeat": int(self._current.heartbeat_s * NANOSECONDS),
        }
        await self._bus.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._current.name}.{self._consumer}",
            msgspec.json.encode(request),
            reply=f"{self._inbox}.{self._pull}",
        )

    def _receive(self, subject: str, body: bytes, reply: str, headers: Headers) -> None:
        if subject.startswith(self._inbox):
            self._status(subject, headers or {})
            return
        self._is_heard()
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<ns>.<waiting>; newer servers put two
        # tokens before the stream and may append more.
        tokens = reply.split(".")
        offset = 0 if len(tokens) == 9 else 2
        consumer_seq = int(tokens[6 + offset])
        if consumer_seq != self._consumer_seq + 1:
            self._break()
            return
        assert self._current is not None
        self._consumer_seq = consumer_seq
        self._remaining -= 1
        self._deliver(
            Received(
                stream_created=self._current.created,
                seq=int(tokens[5 + offset]),
                ns=int(tokens[7 + offset]),
                waiting=int(tokens[8 + offset]),
                subject=subject,
                body=body,
                headers=headers,
            )
        )
        if self._remaining == 0:
            self._news.set()

    def _break(self) -> None:
        """Let the reading begin anew."""
        self._is_broken = True
        self._news.set()

    def _is_heard(self) -> None:
        """The reader at the server lives. Word that there is none is no sign of that."""
        silent_s = time.monotonic() - self._heard
        self._heard += silent_s
        if silent_s > DEAF_S or not self._answered:
            self._silence(silent_s)
        self._answered = True

    def _status(self, subject: str, headers: Mapping[str, str]) -> None:
        """Heartbeat (100), end of a pull request (404, 408, most 409), or the end of the consumer (the rest)."""
        code, text = headers.get("Status", ""), headers.get("Description", "")
        if code == "100":
            self._is_heard()
        if code == "100" or subject != f"{self._inbox}.{self._pull}":
            return
        if code in ("404", "408") or (code == "409" and ("Exceed" in text or "Completed" in text)):
            self._is_heard()
            self._remaining = 0
            self._news.set()
        else:
            log.debug("stream reader interrupted", status=code, description=text)
            self._break()

    async def _watch(self) -> None:
        """Fetch more whenever all has come; return when the reading has to begin anew."""
        assert self._current is not None
        heartbeat_s = self._current.heartbeat_s
        while not self._is_broken:
            self._news.clear()
            await self.resume()
            try:
                async with asyncio.timeout(LOOK_HEARTBEATS * heartbeat_s):
                    await self._news.wait()
            except TimeoutError:
                # A reader whose node has just ended can be made, and is never heard of.
                if min(self.unheard_s, time.monotonic() - self._asked) > SILENT_HEARTBEATS * heartbeat_s:
                    log.warning("stream is silent, reading anew", seconds=round(self.unheard_s, 1))
                    return

    async def _end(self) -> None:
        """Drop the subscription and the consumer, as far as the server can be reached."""
        subscription, self._subscription = self._subscription, None
        self._remaining = 0
        if subscription is None:
            return
        try:
            await subscription.unsubscribe()
            if self._bus.connected and self._current is not None:
                await self._bus.publish(f"$JS.API.CONSUMER.DELETE.{self._current.name}.{self._consumer}", b"")
        except (nats.errors.Error, OSError):
            log.debug("reader's consumer is left to its inactivity threshold")
