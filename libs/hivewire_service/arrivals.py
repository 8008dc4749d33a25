"""HTTP connections: how many there may be, and how long a request may take to arrive.

uvicorn waits for ever for the first request's head, for any body, and for the rest of a body that was answered already.
"""

import asyncio
import contextlib
import resource
from collections import Counter
from typing import Any, ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from hivewire import limits

_ANSWER: Final = (
    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
)
_TOO_SLOW: Final = '{"error":"the request did not arrive whole in time: send it faster, or less at once","detail":{}}'
_TOO_MANY: Final = '{"error":"too many connections are open: close some, or come again","detail":{}}'


def make_room() -> None:
    """Let this process open as many files as all connections need, and as many again, as far as it may."""
    wanted = 2 * limits.HTTP_CONNECTIONS_MAX
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError):  # there are systems that allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _places(wanted: int) -> int:
    """So many connections, and at most half of the files that this process may open: Postgres and NATS need some."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if files == resource.RLIM_INFINITY else min(wanted, files // 2)


class Arriving(H11Protocol):
    """A connection that is closed where a request does not arrive in time, or others took all the places.

    The deadline runs from when a head or body is waited for; nothing that comes puts it off, so drips don't help.
    """

    head_s_max: ClassVar[float] = limits.HTTP_HEAD_S_MAX
    body_s_max: ClassVar[float] = limits.HTTP_BODY_S_MAX
    connections_max: ClassVar[int] = limits.HTTP_CONNECTIONS_MAX

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waits_for: tuple[Any, RequestResponseCycle | None] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let it in, unless there are too many."""
        super().connection_made(transport)
        if self._is_one_too_many():
            self._refuse("503 Service Unavailable", _TOO_MANY)
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        super().data_received(data)
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, if nothing was answered before; the application's answer comes too late then."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand over: a WebSocket has deadlines of its own."""
        self._put_off()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._put_off()
        super().connection_lost(exc)

    def _is_one_too_many(self) -> bool:
        """Whether all places are taken, or this address has half of them: then it leaves the rest to others."""
        places = _places(self.connections_max)
        if len(self.connections) > places:
            return True
        if len(self.connections) <= places // 2 or self.client is None:
            return False
        addresses = Counter(client[0] for one in self.connections if (client := getattr(one, "client", None)))
        return addresses[self.client[0]] > places // 2

    def _watch(self) -> None:
        """Set the deadline for what is waited for now, if that is something else than before."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        waits_for = (self.conn.their_state, self.cycle)
        if waits_for == self._waits_for:
            return
        self._put_off()
        self._waits_for = waits_for
        seconds = {h11.IDLE: self.head_s_max, h11.SEND_BODY: self.body_s_max}.get(self.conn.their_state)
        if seconds is not None:
            self._deadline = self.loop.call_later(seconds, self._expire)

    def _put_off(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        in_body = self.conn.their_state is h11.SEND_BODY
        is_answered = in_body and self.cycle.response_started
        if is_answered or not (in_body or self.conn.trailing_data[0]):
            self.transport.close()  # it has its answer, or asked nothing
        else:
            self._refuse("408 Request Timeout", _TOO_SLOW)

    def _refuse(self, status: str, body: str) -> None:
        self.transport.write((_ANSWER.format(status=status, size=len(body)) + body).encode())
        self.transport.close()


class Framed(WebSocketsSansIOProtocol):
    """A WebSocket whose peer cannot keep us busy without saying anything: the size of a message has a bound, the number of
    its fragments, and of pings, gets one here."""

    idle_frames_max: ClassVar[int] = limits.WEBSOCKET_IDLE_FRAMES_MAX

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle_frames = 0

    def handle_cont(self, event: Frame) -> None:
        """Take a fragment; nothing is kept of empty ones."""
        self._count()
        if event.data or event.fin:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer."""
        self._count()
        super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Pass it over."""
        self._count()
        super().handle_pong(event)

    def send_receive_event_to_app(self) -> None:
        """A message is whole."""
        self._idle_frames = 0
        super().send_receive_event_to_app()

    def _count(self) -> None:
        self._idle_frames += 1
        if self._idle_frames > self.idle_frames_max:
            self.transport.abort()
