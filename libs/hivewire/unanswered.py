"""Requests that wait for their answers: sent in order, and sent again until they are answered.

Nothing here waits for the network one request at a time: whoever asks appends to a queue, one task sends what is in it,
and one timer, which runs only while something is unanswered, finds what is due again.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hivewire import limits
from hivewire.envelope import Envelope
from hivewire.errors import HivewireError

REPEATS_PER_SWEEP_MAX = 500
"""While nobody answers, repeats must not fill the streams with what is already waiting there."""
SWEEP_S = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a request is for. One that a stream keeps has the answer's address in a header."""

    service: str
    subject: str
    kind: str
    stored: bool
    replies: str | None = None
    """Where the answer comes to, if not under the connection's own name."""


@dataclass(slots=True)
class Request:
    """A message that waits for its answer."""

    target: Target
    body: bytes
    reply: asyncio.Future[Envelope]
    reply_subject: str
    due: float
    pause_s: float
    obstacle: str = ""
    """Why there was no answer so far, if anybody said."""
    is_queued: bool = False
    """Whether it waits to be sent: it does so once, however often it is due while nothing can be sent."""


class Unanswered:
    """The requests of one connection that wait for their answers, by key."""

    def __init__(self, send: Callable[[Request], Awaitable[None]], can_send: Callable[[], bool]) -> None:
        """`send` sends a request once, and is called one at a time. What cannot be sent now is sent later."""
        self._send = send
        self._can_send = can_send
        self._requests: dict[str, Request] = {}
        self._outbox: deque[Request] = deque()
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._sender: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send."""
        self._sender = asyncio.create_task(self._send_all(), name="hivewire sender")

    def add(self, key: str, target: Target, body: bytes, reply_subject: str) -> Request:
        """Send a request, and again until it is answered or forgotten."""
        loop = asyncio.get_running_loop()
        pause_s = limits.REPEAT_FIRST_S
        request = Request(target, body, loop.create_future(), reply_subject, loop.time() + pause_s, pause_s)
        self._requests[key] = request
        self._enqueue(request)
        if self._timer is None:
            self._timer = loop.call_later(SWEEP_S, self._sweep)
        return request

    def get(self, key: str) -> Request | None:
        """The request, if it still waits."""
        request = self._requests.get(key)
        return None if request is None or request.reply.done() else request

    def answer(self, key: str, answer: Envelope) -> None:
        """The answer to a request has come."""
        request = self._requests.pop(key, None)
        if request is not None and not request.reply.done():
            request.reply.set_result(answer)

    def put_off(self, key: str, pause_s: float) -> None:
        """The request was refused for now: send it again after so long, and not before."""
        request = self.get(key)
        if request is not None:
            loop = asyncio.get_running_loop()
            request.pause_s = limits.REPEAT_FIRST_S
            request.due = loop.time() + pause_s + request.pause_s
            loop.call_later(pause_s, self._enqueue, request)

    def forget(self, key: str) -> None:
        """Nobody waits for this answer any more."""
        self._requests.pop(key, None)

    def asking(self, subject: str) -> list[str]:
        """The keys of the requests on a subject, which is compared without case."""
        return [key for key, request in self._requests.items() if request.target.subject.lower() == subject]

    def send_again(self) -> None:
        """Send everything that is unanswered once more: the connection was lost in between."""
        now = asyncio.get_running_loop().time()
        for request in self._requests.values():
            request.due = now + request.pause_s
            self._enqueue(request)

    async def close(self) -> None:
        """Stop; what was not sent at all is sent once."""
        if self._timer:
            self._timer.cancel()
        if self._sender:
            self._sender.cancel()
        while self._outbox and self._can_send():
            await self._send(self._outbox.popleft())

    def fail(self, error: HivewireError) -> None:
        """No answer will come."""
        for request in self._requests.values():
            if not request.reply.done():
                request.reply.set_exception(error)
                request.reply.exception()  # it may have no reader
        self._requests.clear()

    def _enqueue(self, request: Request) -> None:
        if not request.is_queued:
            request.is_queued = True
            self._outbox.append(request)
            self._wake.set()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now, room = loop.time(), REPEATS_PER_SWEEP_MAX
        for request in self._requests.values():
            if request.due > now or not room:
                continue
            room -= 1
            request.pause_s = min(request.pause_s * 2, limits.REPEAT_MAX_S)
            request.due = now + request.pause_s
            self._enqueue(request)
        self._timer = loop.call_later(SWEEP_S, self._sweep) if self._requests else None

    async def _send_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outbox:
                request = self._outbox.popleft()
                request.is_queued = False
                # What cannot be sent now is sent when the connection is back.
                if self._can_send() and not request.reply.done():
                    await self._send(request)
