"""TCP links that can be cut, stalled, half-opened and delayed: a proxy between a client and its server.

The proxies of a test live in a thread of their own, so that whoever strikes may wait, and so may what is struck.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CHUNK_BYTES = 64 * 1024


class _Way:
    """One direction of a link. While it is closed, what comes is not even read."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.delay_s = 0.0


class Link:
    """A port of loopback behind which a server is, for as long as the link lets it.

    All methods may be called from any thread; they return when it is so.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int, server_port: int) -> None:
        self.port = port
        self._loop = loop
        self._server_port = server_port
        self._there, self._back = _Way(), _Way()
        self._refuses = False
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Begin to accept, until the loop ends."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=CHUNK_BYTES)

    # what can happen to a link ------------------------------------------------------------------------
    def cut(self) -> None:
        """End every connection, and each new one at once."""
        self._call(self._cut)

    def stall(self, *, there: bool = True, back: bool = True) -> None:
        """Connections stand, new ones are accepted, and nothing gets through: to the server, to the client, or both."""
        self._call(lambda: self._close(there=there, back=back))

    def forget(self) -> None:
        """Connections stand and lead nowhere any more; new ones work. As behind a firewall that has lost its table."""
        self._call(self._forget)

    def delay(self, seconds: float) -> None:
        """Everything takes so much longer, each way."""
        self._call(lambda: self._delay(seconds))

    def restore(self) -> None:
        """All is well: what waited gets through."""
        self._call(self._restore)

    # in the loop's thread -----------------------------------------------------------------------------
    def _call(self, change: Callable[[], None]) -> None:
        async def changed() -> None:
            change()

        asyncio.run_coroutine_threadsafe(changed(), self._loop).result()

    def _cut(self) -> None:
        self._refuses = True
        for connection in self._connections:
            connection.cancel()

    def _close(self, *, there: bool, back: bool) -> None:
        for way, closed in ((self._there, there), (self._back, back)):
            if closed:
                way.open.clear()

    def _forget(self) -> None:
        self._close(there=True, back=True)
        self._there, self._back = _Way(), _Way()

    def _delay(self, seconds: float) -> None:
        self._there.delay_s = self._back.delay_s = seconds

    def _restore(self) -> None:
        self._refuses = False
        self._delay(0.0)
        for way in (self._there, self._back):
            way.open.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = self._loop.create_task(self._connect(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = self._there, self._back
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            # Aborted, not closed: what is written and unsent must not hold anything up.
            stack.callback(writer.transport.abort)
            if self._refuses:
                return
            await there.open.wait()  # the client is connected all the while
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
            stack.callback(server_writer.transport.abort)
            pumps = [
                asyncio.ensure_future(_pump(reader, server_writer, there)),
                asyncio.ensure_future(_pump(server_reader, writer, back)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.wait(pumps)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: _Way) -> None:
    """Pass on what comes, until either end is gone."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            if way.delay_s:
                await asyncio.sleep(way.delay_s)
            await way.open.wait()
            writer.write(data)
            await writer.drain()


@contextmanager
def links(ports: dict[str, tuple[int, int]]) -> Iterator[dict[str, Link]]:
    """Links by name, each from a port to a server's port, as long as the context lasts."""
    loop = asyncio.new_event_loop()
    made = {name: Link(loop, *ends) for name, ends in ports.items()}
    thread = threading.Thread(target=loop.run_forever, name="links", daemon=True)
    thread.start()

    async def listen() -> None:
        for link in made.values():
            await link.listen()

    async def end() -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(listen(), loop).result()
    try:
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
