"""The client lets go of a server that reads nothing any more."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from hivewire import nats_client
from hivewire.nats_client import Nats
from hivewire.nats_tls import NatsClient
from hivewire.tls import Tls

INFO = b'INFO {"server_id":"x","version":"2.14.0","max_payload":1048576,"proto":1,"headers":true}\r\n'
MORE_THAN_SOCKETS_HOLD = 32
ROOM_BYTES = 64 * 1024 * 1024
"""Else publishing waits for the socket."""


@asynccontextmanager
async def server() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A server that answers pings; once the event is set, it reads nothing more from connections that stand."""
    stalled, ended = asyncio.Event(), asyncio.Event()
    lines: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stands_before = not stalled.is_set()
        lines.append(asyncio.current_task())
        writer.write(INFO)
        while data := await reader.read(65536):
            writer.write(b"PONG\r\n" * data.count(b"PING\r\n"))
            if stands_before and stalled.is_set():
                await ended.wait()
                writer.transport.abort()
                return

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"nats://127.0.0.1:{listener.sockets[0].getsockname()[1]}", stalled
    finally:
        ended.set()
        listener.close()
        await asyncio.gather(*lines, return_exceptions=True)


async def flood(client: Nats) -> None:
    """Write more than the sockets between hold."""
    for _ in range(MORE_THAN_SOCKETS_HOLD):
        await client.publish("subject", b"x" * 1_000_000)
        await asyncio.sleep(0)


async def test_a_server_that_reads_nothing_is_left_for_one_that_does():
    async with server() as (url, stalled):
        client, back = Nats(), asyncio.Event()

        async def reconnected() -> None:
            back.set()

        await client.connect(
            url,
            ping_interval=0.1,
            max_outstanding_pings=1,
            reconnect_time_wait=0.01,
            reconnected_cb=reconnected,
            pending_size=ROOM_BYTES,
        )
        stalled.set()
        await flood(client)
        await asyncio.wait_for(back.wait(), 10)
        await client.close()


async def test_closing_does_not_wait_for_a_server_that_reads_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nats_client, "CLOSE_S_MAX", 0.1)
    async with server() as (url, stalled):
        client = Nats()
        await client.connect(url, pending_size=ROOM_BYTES)
        stalled.set()
        await flood(client)
        await asyncio.wait_for(client.close(), 10)
        assert client.is_closed


async def test_what_ended_a_connection_is_told_in_place_of_its_loss(monkeypatch: pytest.MonkeyPatch):
    async def written_to_too_late(client: Client) -> None:
        client._transport = TcpTransport()
        client._transport._io_reader = asyncio.StreamReader()
        client._transport._io_reader.set_exception(refused)
        raise ConnectionResetError("Connection lost")

    refused = ssl.SSLError("unknown ca")
    monkeypatch.setattr(Client, "_process_connect_init", written_to_too_late)
    with pytest.raises(ssl.SSLError) as told:
        await NatsClient(Tls())._process_connect_init()
    assert told.value is refused


HEADER = st.tuples(st.text("abcAZ019-", min_size=1, max_size=12), st.text("abc.:>*$ _\t\x00é", max_size=12))


@given(st.lists(HEADER, max_size=3), st.sampled_from([b"", b" 503", b" 100 Idle Heartbeat"]))
def test_headers_are_read_as_nats_py_reads_them(headers, status):
    block = b"NATS/1.0%b\r\n%b\r\n" % (status, b"".join(f"{name}: {value}\r\n".encode() for name, value in headers))
    ours, theirs = (asyncio.run(kind()._process_headers(block)) for kind in (Nats, Client))
    assert ours == theirs


async def test_an_error_of_who_hears_at_once_is_told_and_ends_nothing():
    client, heard, errors = Nats(), [], []

    async def told(error: Exception) -> None:
        errors.append(error)

    def call(subject: str, body: bytes, reply: str, headers: nats_client.Headers) -> None:
        heard.append((subject, 10 // int(body), reply, headers))

    async with server() as (url, _):
        await client.connect(url, error_cb=told)
        number = (await client.hear("acks.*", call))._id
        for body in (b"5", b"0", b"2"):
            await client._process_msg(number, b"acks.1", b"", body, b"")
        await client._process_msg(number, b"acks.\xff", b"\xfe", b"1", b"NATS/1.0\r\nA: b\r\n\r\n")
        await client.close()
    assert heard == [
        ("acks.1", 2, "", None),
        ("acks.1", 5, "", None),
        ("acks.\N{REPLACEMENT CHARACTER}", 10, "", {"A": "b"}),
    ]
    assert isinstance(errors[0], ZeroDivisionError)


@given(
    st.text("ab.*> \r\n\té", max_size=6),
    st.text("ab. \r\n", max_size=4),
    st.binary(max_size=20),
    st.sampled_from([None, {"A": "b"}]),
)
def test_publishing_writes_and_refuses_what_nats_py_does(subject, reply, body, headers):
    def written(kind: type[Client]) -> tuple[list[bytes], int] | type[Exception]:
        async def publish() -> tuple[list[bytes], int]:
            client = kind()
            client._status, client._max_payload, client._max_pending_size = Client.CONNECTED, 15, 1_000
            client._flush_queue, client._flusher_task = asyncio.Queue(), asyncio.current_task()
            await client.publish(subject, body, reply, headers)
            return client._pending, client._pending_data_size

        try:
            return asyncio.run(publish())
        except nats.errors.Error as error:
            return type(error)

    assert written(Nats) == written(Client)
