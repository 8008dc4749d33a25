"""What a server sends is taken as nats-py takes it, however it is cut into reads."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol import parser

from hivewire.nats_parser import Parser


class Client:
    """Notes what the parser tells it."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def _process_msg(self, number: int, subject: bytes, reply: bytes, body: bytes, headers: bytes | None) -> None:
        self.told.append((number, subject, reply, body, headers or b""))

    async def _process_ping(self) -> None:
        self.told.append("ping")

    async def _process_pong(self) -> None:
        self.told.append("pong")

    async def _process_err(self, error: str) -> None:
        self.told.append(error)


def told(kind: type[parser.Parser], reads: list[bytes]) -> list[Any]:
    client = Client()

    async def take() -> None:
        one = kind(client)
        for read in reads:
            await one.parse(read)

    try:
        asyncio.run(take())
    except ProtocolError:
        client.told.append("no protocol")
    return client.told


WORD = st.binary(min_size=1, max_size=8).filter(lambda word: not set(word) & set(b" \t\r\n"))
BODY = st.one_of(st.binary(max_size=40), st.sampled_from([b"PING\r\n", b"\r\n", b"MSG a 1 3\r\nabc\r\n"]))


@st.composite
def message(draw: st.DrawFn) -> bytes:
    words = [draw(WORD), str(draw(st.integers(0, 99))).encode(), *draw(st.lists(WORD, max_size=1))]
    headers, body = draw(st.sampled_from([None, b"", b"NATS/1.0\r\nA: b\r\n\r\n"])), draw(BODY)
    if headers is None:
        return b"MSG %b %d\r\n%b\r\n" % (b" ".join(words), len(body), body)
    sizes = (len(headers), len(headers) + len(body))
    return b"HMSG %b %d %d\r\n%b%b\r\n" % (b" ".join(words), *sizes, headers, body)


LINES = [
    b"PING\r\n",
    b"PONG\r\n",
    b"+OK\r\n",
    b"-ERR 'Slow Consumer'\r\n",
    b"MSG  a\t1  2\r\nxy\r\n",
    b"MSG a b c\r\n",
    b"\r\n",
]


@given(st.lists(st.one_of(message(), st.sampled_from(LINES)), max_size=8), st.lists(st.integers(1, 60), max_size=40))
def test_every_way_to_cut_what_comes_is_the_same(sent, sizes):
    stream, reads = b"".join(sent), []
    for size in sizes:
        reads.append(stream[:size])
        stream = stream[size:]
    reads.append(stream)
    assert told(Parser, reads) == told(parser.Parser, reads)


@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_a_message_larger_than_a_read(size):
    stream = b"MSG a 1 5000\r\n%b\r\nPING\r\n" % (b"x" * 5_000)
    reads = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert told(Parser, reads) == [(1, b"a", b"", b"x" * 5_000, b""), "ping"]
