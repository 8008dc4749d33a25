"""nats-py's client, which lets go of a connection whose other end reads nothing any more.

Before it reconnects or closes, nats-py waits until all that it has written is sent. On a link that stands still that is
never, so that it would neither come back nor end.
"""

import asyncio
import contextlib
from typing import Any

from nats.aio.client import Client

CLOSE_S_MAX = 2.0
"""How long closing waits for what was written to be sent."""


class NatsClient(Client):
    """A connection that ends when it is given up, sent or not."""

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
        # Over WebSockets there is no such writer, and its own close does not wait.
        writer: Any = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
