"""Whoever asks slowly, without an end, or by too many connections is refused, and holds nothing for ever."""

import asyncio
import resource
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode

from hivewire_service.arrivals import Arriving, Framed, make_room
from hivewire_service.health import serving

DRIP_S = 0.05
DEADLINE_S = 0.4
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Arriving, "head_s_max", DEADLINE_S)
    monkeypatch.setattr(Arriving, "body_s_max", DEADLINE_S)


async def reads_all(scope, receive, send) -> None:
    """Answers when the body is there."""
    while (message := await receive())["type"] == "http.request" and message["more_body"]:
        pass
    if message["type"] == "http.request":
        await answers_at_once(scope, receive, send)


async def answers_at_once(_scope, _receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def read_slowly(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection is closed; nobody waits for long."""
    async with asyncio.timeout(20):
        return await reader.read()


@asynccontextmanager
async def calling(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def drip(writer: asyncio.StreamWriter, parts: Iterable[bytes]) -> None:
    for part in parts:
        writer.write(part)
        await asyncio.sleep(DRIP_S)


def endless(first: bytes, part: bytes) -> Iterable[bytes]:
    yield first
    while True:
        yield part


@pytest.mark.parametrize(
    ("first", "part"),
    [
        (b"GET / HT", b""),
        (b"GET / HTTP/1.1\r\n", b"a: b\r\n"),
        (POST + b"Content-Length: 100000\r\n\r\n", b"x"),
        (POST + b"Content-Length: 100000\r\n\r\n", b""),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
)
async def test_a_request_that_does_not_arrive_is_told_so_and_closed(first: bytes, part: bytes):
    async with serving(reads_all, 0) as port, calling(port) as (reader, writer):
        dripping = asyncio.create_task(drip(writer, endless(first, part)))
        answer = await read_slowly(reader)
        dripping.cancel()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive whole" in answer


async def test_a_connection_that_asks_nothing_is_closed():
    async with serving(reads_all, 0) as port, calling(port) as (reader, _):
        assert await read_slowly(reader) == b""


async def test_a_body_that_goes_on_after_the_answer_is_cut_off():
    async with serving(answers_at_once, 0) as port, calling(port) as (reader, writer):
        dripping = asyncio.create_task(drip(writer, endless(POST + b"Content-Length: 100000\r\n\r\n", b"x")))
        answer = await read_slowly(reader)
        dripping.cancel()
    assert answer.endswith(b"ok")


async def test_a_second_request_has_the_same_deadline():
    async with serving(reads_all, 0) as port, calling(port) as (reader, writer):
        writer.write(POST + b"Content-Length: 2\r\n\r\nab")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        dripping = asyncio.create_task(drip(writer, endless(b"GET / HTTP/1.1\r\n", b"a: b\r\n")))
        assert (await read_slowly(reader)).startswith(b"HTTP/1.1 408 ")
        dripping.cancel()


async def test_who_waits_for_a_long_answer_is_not_cut_off():
    async def takes_its_time(scope, receive, send) -> None:
        await asyncio.sleep(3 * DEADLINE_S)
        await answers_at_once(scope, receive, send)

    async with serving(takes_its_time, 0) as port, calling(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await read_slowly(reader)).endswith(b"ok")


@pytest.mark.parametrize(("app", "status"), [(reads_all, b"400"), (answers_at_once, b"200")])
async def test_a_body_that_turns_into_nonsense_ends_the_connection_and_raises_nothing(app, status: bytes, caplog):
    async with serving(app, 0) as port, calling(port) as (reader, writer):
        writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        if app is answers_at_once:
            await reader.readuntil(b"ok")
        writer.write(b"nonsense\r\n")
        answer = await read_slowly(reader)
    assert answer == b"" or answer.split()[1] == status
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_there_are_fewer_places_where_fewer_files_may_be_open(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4, 4))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    async with serving(reads_all, 0) as port, calling(port), calling(port), calling(port) as (reader, _):
        assert (await read_slowly(reader)).startswith(b"HTTP/1.1 503 ")


def test_as_many_files_may_be_open_as_are_needed(monkeypatch: pytest.MonkeyPatch):
    made: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: made.append(limit))
    for soft, hard in ((1_024, 4_096), (1_024, resource.RLIM_INFINITY), (1_000_000, 1_000_000)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=(soft, hard): limit)
        make_room()
    assert made == [(4_096, 4_096), (20_000, resource.RLIM_INFINITY)]


async def hears_all(_scope, receive, send) -> None:
    """A WebSocket that says what it hears."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG, Opcode.CONT])
async def test_frames_that_say_nothing_are_bounded_between_two_messages(
    opcode: Opcode, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Framed, "idle_frames_max", 20)
    empty = Frame(opcode, b"", fin=opcode is not Opcode.CONT).serialize(mask=True)
    begin, end = Frame(Opcode.TEXT, b"a", fin=False).serialize(mask=True), Frame(Opcode.CONT, b"b").serialize(mask=True)
    async with serving(hears_all, 0, frame_bytes_max=1_000) as port, connect(f"ws://127.0.0.1:{port}/") as socket:
        for _ in range(3):  # each message starts anew
            socket.transport.write(begin + 15 * empty + end)
            assert await socket.recv() == "ab"
        socket.transport.write(begin + 30 * empty + end)
        async with asyncio.timeout(20):
            await socket.wait_closed()
        assert socket.close_code == 1006


async def test_connections_beyond_the_places_of_an_address_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Arriving, "connections_max", 8)
    monkeypatch.setattr(Arriving, "head_s_max", 60.0)
    async with serving(reads_all, 0) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        async with calling(port) as (reader, _):
            answer = await read_slowly(reader)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"too many connections" in answer
        for _, writer in held:  # each of them is as good as before
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for reader, writer in held:
            assert (await read_slowly(reader)).endswith(b"ok")
            writer.close()
        async with calling(port) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await read_slowly(reader)).endswith(b"ok")
