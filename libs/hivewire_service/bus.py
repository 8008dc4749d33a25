"""NATS: the connection of a service, and JetStream's API."""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import nats.errors
import structlog

from hivewire.errors import NotReachable
from hivewire.nats_client import Nats
from hivewire.nats_tls import NatsClient, tls_trouble
from hivewire.servers import server_urls
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
        inbox = self.client.new_inbox()
        subscription = await self.client.hear(inbox, lambda *_: answered.set())
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
