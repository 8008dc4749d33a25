"""Payload bombs into every entrance of real services: refused and kept whole, and the services live and stay small."""

import asyncio
import itertools
import time
from collections.abc import Iterable, Iterator

import pytest
from tests.integration.bombs import VALUES, door_of, throw
from tests.integration.test_hostile_agents import Running, running

from hivewire import limits

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def world(stack, tmp_path_factory) -> Iterator[Running]:
    with running(stack, tmp_path_factory.mktemp("bombs") / "hive") as world:
        yield world


async def test_bombs_are_refused_and_kept_and_cost_no_memory(world: Running):
    thrown = await throw(world, VALUES)
    assert min(thrown.values()) > 0
    assert sum(thrown.values()) > 500


POST = b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\n"
UPGRADE = (
    b"GET /ws/agent-bridge HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
HEAD_S, BODY_S, REGISTER_S = limits.HTTP_HEAD_S_MAX, limits.HTTP_BODY_S_MAX, limits.REGISTER_S_MAX
SLOW = {
    "silent": ((b"",), b"", HEAD_S),
    "head": ((b"GET / HTTP/1.1\r\n",), b"a: b\r\n", HEAD_S),
    "body": ((POST + b"%sContent-Length: 100000\r\n\r\n",), b"x", BODY_S),
    "chunks": ((POST + b"%sTransfer-Encoding: chunked\r\n\r\n",), b"1\r\nx\r\n", BODY_S),
    "silent bridge": ((UPGRADE,), b"", REGISTER_S),
    "bridge of fragments": ((UPGRADE, b"\x01\x80\0\0\0\0"), b"\x00\x80\0\0\0\0" * 10, REGISTER_S),
    "bridge of pings": ((UPGRADE,), b"\x89\x80\0\0\0\0" * 10, REGISTER_S),
}
"""How a request begins, how it goes on for ever, and after how many seconds it is let go."""
AT_ONCE = 30
"""Of each."""
MARGIN_S = 20.0
"""For closing, on a busy machine."""


async def test_whoever_is_slow_at_the_door_is_let_go(world: Running):
    async with door_of(world) as door:
        proof = f"X-Agent-ID: boss\r\nAuthorization: Bearer {door.tokens['boss']}\r\n".encode()
        slow = [
            _let_go(door.port, [one.replace(b"%s", proof) for one in first], part, seconds)
            for first, part, seconds in SLOW.values()
            for _ in range(AT_ONCE)
        ]
        held = asyncio.gather(*slow)
        await world.does_work()  # nobody waits for them
        async with door.http("boss") as boss:
            assert (await boss.get("/api/v1/tasks")).status_code == 200
        took_s = dict(zip([name for name in SLOW for _ in range(AT_ONCE)], await held, strict=True))
    print({name: round(seconds, 1) for name, seconds in took_s.items()})


async def _let_go(port: int, first: Iterable[bytes], part: bytes, seconds: float) -> float:
    """Call slowly until the connection is closed, which takes about so many seconds; how many it took."""
    begun_s = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    dripping = asyncio.create_task(_drip(writer, first, part))
    try:
        async with asyncio.timeout(seconds + MARGIN_S):
            while await reader.read(65_536):
                pass
    except ConnectionError:
        pass  # cut off in the middle of a drip
    finally:
        dripping.cancel()
        writer.close()
    took_s = time.monotonic() - begun_s
    assert took_s >= seconds - 1.0
    return took_s


async def _drip(writer: asyncio.StreamWriter, first: Iterable[bytes], part: bytes) -> None:
    for one in (*first, *itertools.repeat(part, 1_000)):
        writer.write(one)
        await asyncio.sleep(0.5)
