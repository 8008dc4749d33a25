"""nats-py's client, made to go on whatever others send, and to let go of a connection that leads nowhere.

nats-server passes on header blocks and reply subjects as they come, of any bytes. nats-py decodes them in the task that
reads the connection, and an error there ends the task without a word: one message of a hostile member would make every
service deaf, and again after each restart, since a command is read again until it is decided.

What it does for each message (a header block read like a mail's, a message object, a queue, a switch of tasks) costs more
than most messages are worth to us, and time: so the simple header blocks are read here, and `hear` does without the rest.
Publishing, too, takes nats-py four calls and two looks at the subject.

Before it reconnects or closes, nats-py waits until all that it has written is sent. On a link that stands still that is
never, so that it would neither come back nor end.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport

from hivewire.nats_parser import Parser

_ONE_HEADER = re.compile(rb"NATS/1\.0\r\n([A-Za-z0-9-]+): ([!-~]+)\r\n\r\n")
"""A header block as most are: one header, and nothing in it that has to be decided."""

_BLANK = re.compile(r"[ \t\r\n]")
"""What ends a subject: it could bring a line of its own to the server."""

Headers = dict[str, str] | None
Hear = Callable[[str, bytes, str, Headers], None]
"""What is called with a message's subject, body, reply subject and headers."""

CLOSE_S_MAX = 2.0
"""How long closing waits for what was written to be sent."""


class Nats(Client):
    """A client that takes a header block which is none for no headers, and a reply subject which is no text for none; its
    connection ends when it is given up, all sent or not."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = Parser(self)
        self._hearing: dict[int, Hear] = {}
        """By the number of a subscription."""

    async def hear(self, subject: str, call: Hear) -> Subscription:
        """Subscribe; `call` gets each message from the task that reads the connection, so it must not take long."""
        subscription = await self.subscribe(subject, cb=_unheard)
        self._hearing = {number: known for number, known in self._hearing.items() if number in self._subs}
        self._hearing[subscription._id] = call  # noqa: SLF001
        return subscription

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Publish, as nats-py does; in fewer steps where nothing has to be decided.

        Raises:
            nats.errors.Error: what nats-py says of a subject, a size or the connection's state.
        """
        size = len(payload)
        if (
            headers is not None
            or not subject
            or _BLANK.search(f"{subject}{reply}")
            or size > min(self._max_payload, self._max_pending_size - self._pending_data_size)
            or self._status != Client.CONNECTED
        ):
            await super().publish(subject, payload, reply, headers)
            return
        message = f"PUB {subject} {reply} {size}\r\n".encode() + payload + b"\r\n"
        self._pending.append(message)
        self._pending_data_size += len(message)
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        call = self._hearing.get(sid)
        if call is None:
            await super()._process_msg(sid, subject, reply, data, headers)
        elif sid in self._subs:
            subject_text, reply_text = _texts(subject, reply)
            read = await self._process_headers(headers) if headers else None
            try:
                call(subject_text, data, reply_text, read)
            except Exception as error:  # noqa: BLE001  # as with any other callback
                await self._error_cb(error)

    async def _process_headers(self, headers: bytes) -> Headers:
        if not headers:
            return None
        simple = _ONE_HEADER.fullmatch(headers)
        if simple:
            return {simple[1].decode(): simple[2].decode()}
        try:
            return await super()._process_headers(headers)
        except (IndexError, ValueError):  # cut short, or not UTF-8
            return None

    def _build_message(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Headers) -> object:
        subject_text, reply_text = _texts(subject, reply)
        return super()._build_message(sid, subject_text.encode(), reply_text.encode(), data, headers)

    async def _attempt_reconnect(self) -> None:
        # What was written and not read is lost either way: whoever needs certainty repeats it.
        self._abort()
        await super()._attempt_reconnect()

    async def close(self) -> None:
        """Send what is buffered, if that can be done in two seconds, and disconnect."""
        timer = asyncio.get_running_loop().call_later(CLOSE_S_MAX, self._abort)
        try:
            with contextlib.suppress(ConnectionError):  # aborted while it was written to
                await super().close()
        finally:
            timer.cancel()

    def _abort(self) -> None:
        writer = self._writer()
        if writer is not None:
            writer.transport.abort()

    def _writer(self) -> asyncio.StreamWriter | None:
        """None over WebSockets, whose own close does not wait."""
        return self._transport._io_writer if isinstance(self._transport, TcpTransport) else None  # noqa: SLF001


def _texts(subject: bytes, reply: bytes) -> tuple[str, str]:
    """Both as texts; where one of them is none, the subject as far as it is one, and no reply subject."""
    try:
        return subject.decode(), reply.decode()
    except UnicodeDecodeError:
        return subject.decode(errors="replace"), ""


async def _unheard(_: object) -> None:
    """Nothing comes this way."""
