"""NATS: the connection of a service, JetStream's API, and reading a stream in order.

A reader asks for messages with pull requests of its own and takes them without acks: the place up to which a stream was
dealt with is known to Postgres alone.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from hivewire.connection import server_urls
from hivewire.errors import NotReachable
from hivewire.ids import new_id
from hivewire.nats_client import Nats
from hivewire.nats_tls import NatsClient, tls_trouble
from hivewire.subjects import reply_prefix
from hivewire.tls import Tls
from hivewire_service import metrics
from hivewire_service.topology import (
    NANOSECONDS,
    StreamConfig,
    StreamState,
    TopologyError,
    check_server_version,
    differences,
)

log = structlog.get_logger()

API_TIMEOUT_S = 2.0
"""A stream without a leader does not answer. It is asked again, so that its new leader is found soon."""
CONNECT_PATIENCE_S = 5.0
"""A service that finds no server in this time ends, and says so; its supervisor starts it again."""
PING_INTERVAL_S = 3
PULL_MESSAGES = 1_000
PULL_BYTES = 8 * 1024 * 1024
PULL_EXPIRES_S = 30.0
LOOK_HEARTBEATS = 2
SILENT_HEARTBEATS = 4
"""A reader that did not hear of so many begins anew."""
DEAF_S = 7.5
"""After this long without a heartbeat the server is out of reach, even where the connection still stands."""
RETRY_PAUSE_S = 0.25
STREAM_NOT_FOUND = 10059
MESSAGE_NOT_FOUND = 10037

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


class ApiError(Exception):
    """JetStream's API answered with an error, `code` being its own error number."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code


TRANSIENT = (OSError, TimeoutError, nats.errors.Error, ApiError)


def nanoseconds(moment: str) -> int:
    """An RFC 3339 time of the server in nanoseconds since 1970, exactly."""
    match = _MOMENT.fullmatch(moment)
    if match is None:
        raise ValueError(f"not a time of the server: {moment!r}")
    whole = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    return int(whole.timestamp()) * NANOSECONDS + int((match[2] or "0").ljust(9, "0"))


class Bus:
    """A service's connection to NATS. It reconnects for ever; when it closes for good, `closed` is set and the process
    has to end."""

    def __init__(self, url: str, credentials: str | None, sender: str, name: str, tls: Tls | None = None) -> None:
        self._url = url
        self._credentials = credentials
        self._name = name
        self.sender = sender
        self._tls = tls or Tls()
        self.client: Nats = NatsClient(self._tls)
        self.closed = asyncio.Event()
        self._on_reconnect: list[Callable[[], None]] = []
        self._last_error = ""

    @property
    def connected(self) -> bool:
        """Whether the server can be reached right now."""
        return self.client.is_connected

    @property
    def max_payload_bytes(self) -> int:
        """The server's bound on headers and body together."""
        return self.client.max_payload

    async def connect(self) -> None:
        """Connect and check the server's version.

        Raises:
            NotReachable: the server does not answer or refuses the credentials, or TLS says not to talk to it.
            TopologyError: the server is too old.
            BadUsage: a file of TLS cannot be used.
        """
        self._tls.check()
        try:
            async with asyncio.timeout(CONNECT_PATIENCE_S):
                await self._connect()
        except (OSError, TimeoutError, nats.errors.Error) as error:
            await self.close()
            reason = self._last_error or str(error) or type(error).__name__
            raise NotReachable(
                f"NATS is not reachable at {self._url}: {reason}; check NATS_URL and NATS_CREDS"
            ) from error
        version = self.client.connected_server_version
        check_server_version(f"{version.major}.{version.minor}.{version.patch}")

    async def _connect(self) -> None:
        await self.client.connect(
            server_urls(self._url),
            user_credentials=self._credentials,
            name=self._name,
            inbox_prefix=reply_prefix(self.sender).encode(),
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RETRY_PAUSE_S,  # type: ignore[arg-type]  # it is slept: a fraction is fine
            connect_timeout=2,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=2,
            error_cb=self._error,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            closed_cb=self._closed,
            pending_size=32 * 1024 * 1024,
        )

    async def close(self) -> None:
        """Send what is buffered and disconnect."""
        if not self.client.is_closed:
            await self.client.close()

    @contextmanager
    def calling_on_reconnect(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call back after each reconnection, as long as the context lasts."""
        self._on_reconnect.append(callback)
        try:
            yield
        finally:
            self._on_reconnect.remove(callback)

    async def publish(
        self, subject: str, body: bytes, *, reply: str = "", headers: dict[str, str] | None = None
    ) -> bool:
        """Publish, if that can be done now; whoever needs certainty counts acks or repeats.

        An oversized message is never handed to the client, which would close its connection for good.
        """
        if len(body) > self.max_payload_bytes:
            metrics.TOO_LARGE.labels("published").inc()
            log.error("message not published: larger than the server's max_payload", subject=subject, bytes=len(body))
            return False
        try:
            await self.client.publish(subject, body, reply=reply, headers=headers)
        except (nats.errors.Error, OSError) as error:
            log.warning("message not published", subject=subject, error=str(error) or type(error).__name__)
            return False
        return True

    async def round_trip(self, timeout_s: float) -> None:
        """Return once the server has taken whatever was sent before.

        Not by `flush`: where its answer comes after its timeout, nats-py reads nothing more from the connection.

        Raises:
            nats.errors.Error, TimeoutError: the server did not answer.
        """
        answered = asyncio.Event()

        async def receive(_: Msg) -> None:
            answered.set()

        inbox = self.client.new_inbox()
        subscription = await self.client.subscribe(inbox, cb=receive)
        try:
            await self.client.publish(inbox, b"")
            async with asyncio.timeout(timeout_s):
                await answered.wait()
        finally:
            await subscription.unsubscribe()

    async def api(self, subject: str, request: object = None, timeout_s: float = API_TIMEOUT_S) -> dict[str, Any]:
        """One request to JetStream's API.

        Raises:
            ApiError: it answered with an error.
            nats.errors.Error, TimeoutError: it did not answer.
        """
        body = b"" if request is None else msgspec.json.encode(request)
        answer = await self.client.request(f"$JS.API.{subject}", body, timeout=timeout_s)
        decoded: dict[str, Any] = msgspec.json.decode(answer.data)
        if "error" in decoded:
            error = decoded["error"]
            raise ApiError(error.get("err_code", error.get("code", 0)), error.get("description", "unknown error"))
        return decoded

    async def ensure_stream(self, wanted: StreamConfig) -> StreamState:
        """Bring a stream to what it should be: made if it is missing, updated if it differs.

        Raises:
            TopologyError: it differs in a way that the server does not let us change.
        """
        name = wanted["name"]
        try:
            info = await self.api(f"STREAM.INFO.{name}")
        except ApiError as error:
            if error.code != STREAM_NOT_FOUND:
                raise
            info = await self.api(f"STREAM.CREATE.{name}", wanted)
            log.info("stream made", stream=name)
        found = differences(wanted, info["config"])
        if found:
            log.warning("stream differs, updating it", stream=name, differences=found)
            try:
                info = await self.api(f"STREAM.UPDATE.{name}", info["config"] | wanted)
            except ApiError as error:
                raise TopologyError(
                    f"stream {name} can't be used: {'; '.join(found)}; the server refused to change it: {error}"
                ) from error
        return _state(info)

    async def stream_state(self, name: str, timeout_s: float = API_TIMEOUT_S) -> StreamState:
        """A stream as it stands. In a cluster its leader answers, so that there is one."""
        return _state(await self.api(f"STREAM.INFO.{name}", timeout_s=timeout_s))

    async def message_ns(self, stream: str, seq: int) -> int | None:
        """The time of a stored message in nanoseconds, or None if it is not there."""
        try:
            answer = await self.api(f"STREAM.MSG.GET.{stream}", {"seq": seq})
        except ApiError as error:
            if error.code == MESSAGE_NOT_FOUND:
                return None
            raise
        return nanoseconds(answer["message"]["time"])

    async def purge_below(self, stream: str, seq: int) -> None:
        """Remove all messages before `seq`."""
        await self.api(f"STREAM.PURGE.{stream}", {"seq": seq})

    async def _error(self, error: Exception) -> None:
        """Every attempt to reconnect may fail in the same way; that is said once."""
        reason = tls_trouble(error) or str(error) or type(error).__name__
        if reason != self._last_error:
            log.warning("nats connection", error=reason)
        self._last_error = reason

    async def _disconnected(self) -> None:
        log.warning("nats connection lost, reconnecting")

    async def _reconnected(self) -> None:
        log.info("nats connection is back")
        self._last_error = ""
        for callback in tuple(self._on_reconnect):
            callback()

    async def _closed(self) -> None:
        self.closed.set()


def _state(info: dict[str, Any]) -> StreamState:
    config, state = info["config"], info["state"]
    return StreamState(
        config["name"], info["created"], state["first_seq"], state["last_seq"], config.get("num_replicas", 1)
    )


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
    headers: dict[str, str] | None


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
        self._broken = asyncio.Event()
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
            with self._bus.calling_on_reconnect(self._broken.set):
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
            self._broken.clear()
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
        self._subscription = await self._bus.client.subscribe(f"{self._inbox}.*", cb=self._receive)
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

    async def _receive(self, message: Msg) -> None:
        if message.subject.startswith(self._inbox):
            await self._status(message)
            return
        self._is_heard()
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<ns>.<waiting>; newer servers put two
        # tokens before the stream and may append more.
        tokens = message.reply.split(".")
        offset = 0 if len(tokens) == 9 else 2
        consumer_seq = int(tokens[6 + offset])
        if consumer_seq != self._consumer_seq + 1:
            self._broken.set()
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
                subject=message.subject,
                body=message.data,
                headers=message.headers,
            )
        )
        if self._remaining == 0:
            await self.resume()

    def _is_heard(self) -> None:
        """The reader at the server lives. Word that there is none is no sign of that."""
        silent_s = time.monotonic() - self._heard
        self._heard += silent_s
        if silent_s > DEAF_S or not self._answered:
            self._silence(silent_s)
        self._answered = True

    async def _status(self, message: Msg) -> None:
        """Heartbeat (100), end of a pull request (404, 408, most 409), or the end of the consumer (the rest)."""
        code = (message.headers or {}).get("Status", "")
        text = (message.headers or {}).get("Description", "")
        if code == "100":
            self._is_heard()
        if code == "100" or message.subject != f"{self._inbox}.{self._pull}":
            return
        if code in ("404", "408") or (code == "409" and ("Exceed" in text or "Completed" in text)):
            self._is_heard()
            self._remaining = 0
            await self.resume()
        else:
            log.debug("stream reader interrupted", status=code, description=text)
            self._broken.set()

    async def _watch(self) -> None:
        """Return when the reading has to begin anew."""
        assert self._current is not None
        heartbeat_s = self._current.heartbeat_s
        while not self._broken.is_set():
            try:
                async with asyncio.timeout(LOOK_HEARTBEATS * heartbeat_s):
                    await self._broken.wait()
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
