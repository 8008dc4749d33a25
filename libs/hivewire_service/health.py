"""/health, /ready and /metrics of a service, on a port of its own and in the service's event loop."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from hivewire.errors import HivewireError
from hivewire.tls import Tls
from hivewire_service.arrivals import Arriving, Framed, make_room

Role = Literal["owner", "standby", "door"]
Check = Callable[[], Awaitable[bool]]

HEAD_BYTES_MAX = 256 * 1024
"""A request's line and headers. Beyond it the connection is closed by a plain 400, which tells nothing that the door would."""
GRACE_S = 1
"""Requests that still run when the server stops have as much time."""
UNREAD_MS_MAX = 30_000
"""A peer that reads nothing for so long, although there is something, is gone."""
TROUBLE_S = 20.0
"""Trouble that has not come again for so long is over: whoever has it tries again more often than that."""
_CHECK_S_MAX = 2.0
_PROBE_S_MAX = 3.0

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]


class Health:
    """What a service tells about itself.

    Args:
        checks: by name, whether something the service needs answers (`nats`, `postgres`). Each is asked when /ready is,
            and has two seconds.
        registry: the metrics of /metrics.
    """

    def __init__(self, checks: Mapping[str, Check], registry: CollectorRegistry = REGISTRY) -> None:
        self._checks = checks
        self._registry = registry
        self.take_stock: Callable[[], Awaitable[None]] | None = None
        """Brings the gauges up to date; called when /metrics is asked for."""
        self._role: Role = "standby"
        self._loading = True
        self._trouble = ""
        self._trouble_until_s = 0.0

    def set(self, *, role: Role | None = None, loading: bool | None = None, trouble: str | None = None) -> None:
        """Say what the service is now, whether it still loads its state, and why it cannot work (an empty text: it can)."""
        self._role = role or self._role
        self._loading = self._loading if loading is None else loading
        if trouble is not None:
            self._trouble, self._trouble_until_s = trouble, time.monotonic() + TROUBLE_S

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        """Status and body of /ready: 200 once everything answers, 503 before and while an owner loads."""
        answers = await asyncio.gather(*map(_ask, self._checks.values()))
        missing = [name for name, answered in zip(self._checks, answers, strict=True) if not answered]
        if self._loading and self._role == "owner":
            missing.append("state")
        body: dict[str, Any] = {"role": self._role, "ready": not missing, "waiting_for": missing}
        if self._trouble and time.monotonic() < self._trouble_until_s:
            body |= {"ready": False, "trouble": self._trouble}
        return (200 if body["ready"] else 503), body

    async def app(self, scope: Message, _receive: Receive, send: Send) -> None:
        """The ASGI application."""
        match scope["path"]:
            case "/health":
                await respond(send, 200, {"status": "ok"})
            case "/ready":
                await respond(send, *await self.readiness())
            case "/metrics":
                if self.take_stock is not None:
                    await self.take_stock()
                await _send(send, 200, CONTENT_TYPE_LATEST, generate_latest(self._registry))
            case _:
                await respond(send, 404, {"error": "there are /health, /ready and /metrics"})


async def _ask(check: Check) -> bool:
    # A check that fails in whatever way is a no: the answer of /ready must not depend on the error.
    try:
        async with asyncio.timeout(_CHECK_S_MAX):
            return await check()
    except Exception:  # noqa: BLE001
        return False


async def respond(send: Send, status: int, body: object) -> None:
    """Send a JSON response."""
    await _send(send, status, "application/json", json.dumps(body).encode())


async def _send(send: Send, status: int, content_type: str, body: bytes) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(
    app: Asgi, port: int, host: str = "127.0.0.1", frame_bytes_max: int | None = None, tls: Tls | None = None
) -> AsyncIterator[int]:
    """Serve an ASGI application as long as the context lasts; its value is the port.

    A request that does not arrive in time is refused, and so are connections beyond what there may be. uvicorn's own main
    loop is left out: it wakes ten times a second and takes the signals that are the service's.

    Args:
        app: the application; it gets no lifespan messages.
        port: where to listen; 0 is any free port.
        host: the address to listen on.
        frame_bytes_max: the largest WebSocket message; None: there are no WebSockets.
        tls: the certificate to show; None: nothing is encrypted.

    Raises:
        HivewireError: the port is in use.
        BadUsage: the certificate or its key cannot be used.
    """
    secured = tls.server_context() if tls else None
    make_room()
    listener = _listen(host, port)
    config = uvicorn.Config(
        app,
        interface="asgi3",
        lifespan="off",
        ws="none" if frame_bytes_max is None else Framed,
        ws_max_size=frame_bytes_max or 0,
        # Who serves WebSockets has a heartbeat of its own.
        ws_ping_interval=None,
        ws_ping_timeout=None,
        timeout_graceful_shutdown=GRACE_S,
        log_config=None,
        access_log=False,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        http=Arriving,
        proxy_headers=False,
        date_header=False,
        server_header=False,
    )
    config.load()
    config.ssl = secured
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        yield listener.getsockname()[1]
    finally:
        await server.shutdown(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # else whoever reads nothing keeps a closed connection and its buffer
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS_MAX)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise HivewireError(f"cannot listen on {host}:{port}: {error.strerror}; choose another port") from error
    return listener


async def probe(port: int) -> dict[str, Any] | None:
    """What /ready of a service on loopback says, or None if nothing answers."""
    with suppress(OSError, ValueError, TimeoutError):
        async with asyncio.timeout(_PROBE_S_MAX):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                _, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
        answer: dict[str, Any] = json.loads(body)
        return answer
    return None
