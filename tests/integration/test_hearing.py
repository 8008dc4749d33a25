"""Commands and events go on while there is no stream to be had, on a real nats-server."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from tests.conftest import Hive

from hivewire import codec, ids, limits
from hivewire.envelope import Envelope
from hivewire_service.bus import ApiError
from hivewire_service.outbox import FOR_LISTENERS
from integration.sums import SERVICE, Running, Sums, running, stored_events, total


@pytest.fixture
async def world(hive: Hive) -> AsyncIterator[Running]:
    async with running(hive) as world:
        yield world


@asynccontextmanager
async def refusing(world: Running, *requests: str) -> AsyncIterator[Callable[..., Awaitable[dict[str, Any]]]]:
    """JetStream's API refuses the service what begins with one of `requests`. The value asks it nevertheless."""
    bus = world.service.bus
    api = bus.api

    async def refuse(subject: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        if subject.startswith(requests):
            raise ApiError(10008, "JetStream system temporarily unavailable")
        return await api(subject, *arguments, **options)

    bus.api = refuse  # type: ignore[method-assign]
    try:
        yield api
    finally:
        bus.api = api  # type: ignore[method-assign]


@asynccontextmanager
async def without_streams(world: Running) -> AsyncIterator[None]:
    """The hive's streams are gone and can't be made again."""
    async with refusing(world, "STREAM.CREATE") as ask:
        for stream in (world.subjects.command_stream(SERVICE), world.subjects.event_stream):
            await ask(f"STREAM.DELETE.{stream}")
        yield


@asynccontextmanager
async def unread(world: Running) -> AsyncIterator[None]:
    """The command stream takes and keeps what is sent, and nobody can read it."""
    stream = world.subjects.command_stream(SERVICE)
    async with refusing(world, "CONSUMER.CREATE") as ask:
        for consumer in (await ask(f"CONSUMER.NAMES.{stream}"))["consumers"]:
            await ask(f"CONSUMER.DELETE.{stream}.{consumer}")
        yield


async def until_direct(world: Running, wanted: bool) -> None:
    async with asyncio.timeout(20):
        while world.service._reader.is_direct is not wanted:
            await asyncio.sleep(0.02)
        await world.service.bus.round_trip(5)  # the server knows it too


async def until_read(world: Running) -> None:
    """Wait until the stream is read to its end."""
    async with asyncio.timeout(20):
        while (await world.service.bus.stream_state(world.subjects.command_stream(SERVICE))).last_seq > (
            world.service.decided_seq
        ):
            await asyncio.sleep(0.02)


async def test_commands_are_decided_and_events_heard_without_a_stream(world: Running) -> None:
    heard: list[int] = []

    async def hear(message: Any) -> None:
        envelope = codec.decode_envelope(message.data)
        assert isinstance(envelope, Envelope)
        heard.append(envelope.seq or 0)

    listener = await world.hive.connect("service")
    await listener.subscribe(world.subjects.events(), cb=hear)
    await listener.flush()
    async with without_streams(world):
        place = world.service.decided_seq
        assert [total(await world.reply_to_repeated(1)) for _ in range(5)] == [1, 2, 3, 4, 5]
        assert world.service._reader.is_direct
        assert not world.service._reader.is_deaf
        assert world.service.decided_seq == place
        await listener.flush()
        assert list(dict.fromkeys(heard)) == [2, 3, 4, 5, 6]
    await until_direct(world, wanted=False)
    assert total(await world.reply_to_repeated(1)) == 6
    assert await world.store.pool.fetchval("SELECT total FROM sums WHERE sum_id = 'a'") == 6
    async with asyncio.timeout(20):
        while await stored_events(world) < len(await world.events()):
            await asyncio.sleep(0.02)
    await listener.close()


async def test_the_stream_does_not_take_what_is_told_to_listeners_alone(world: Running) -> None:
    assert total(await world.reply_to_repeated(1)) == 1
    bus, subject = world.service.bus, world.subjects.event("sum.added", "a")
    stream = world.subjects.event_stream
    async with asyncio.timeout(20):
        while await stored_events(world) < 2:
            await asyncio.sleep(0.02)
    await bus.publish(subject, b"for listeners", headers=FOR_LISTENERS)
    await bus.publish(subject, b"for all")
    await bus.round_trip(5)
    state = await bus.stream_state(stream)
    assert state.last_seq == 3
    last = await bus.api(f"STREAM.MSG.GET.{stream}", {"seq": 3})
    assert base64.b64decode(last["message"]["data"]) == b"for all"


async def test_what_was_heard_directly_is_a_repeat_when_the_stream_brings_it(world: Running) -> None:
    """Also where a natural key would not tell: `start` adds whenever it is decided."""
    async with unread(world):
        await until_direct(world, wanted=True)
        for amount in (1, 2, 3):
            await world.add(amount, verb="start")
        assert [total(await world.reply()) for _ in range(3)] == [1, 3, 6]
    answered = [total(await world.reply()) for _ in range(3)]
    assert (answered, world.core.sums["a"]) == ([1, 3, 6], 6)
    await until_direct(world, wanted=False)
    assert total(await world.reply_to_repeated(1, verb="start")) == 7


async def test_an_owner_after_that_knows_the_repeats_too(world: Running) -> None:
    async with unread(world):
        await until_direct(world, wanted=True)
        await world.add(5, verb="start")
        assert total(await world.reply()) == 5
        await world.store.pool.execute(
            "UPDATE lease SET epoch = epoch + 1, owner = 'other', expires_at = now() + interval '1 second'"
        )
        await world.add(-1)  # makes the owner find out
    await until_read(world)
    assert world.core.sums["a"] == 5
    assert await world.store.pool.fetchval("SELECT total FROM sums WHERE sum_id = 'a'") == 5


async def test_a_poison_that_is_heard_directly_stops_nobody(world: Running) -> None:
    async with without_streams(world):
        assert total(await world.reply_to_repeated(0)) == 0
        poison, good = ids.new_id(), [ids.new_id() for _ in range(20)]
        waiting = {poison, *good}
        async with asyncio.timeout(30):
            while waiting:
                for command_id in sorted(waiting):
                    amount = Sums.RAISES_IN_POSTGRES if command_id == poison else 1
                    await world.add(amount, command_id=command_id)
                try:
                    async with asyncio.timeout(1):
                        while waiting:
                            waiting.discard((await world.reply()).causationid or "")
                except TimeoutError:
                    continue  # as senders do, once more
    assert world.core.sums["a"] == 20
    rejects = [msgspec.json.decode(reject["body"])["id"] for reject in await world.rejects()]
    assert set(rejects) == {poison}


async def test_the_gap_before_counts_as_silence(world: Running) -> None:
    before_s = world.core.silence_s
    async with unread(world):
        await until_direct(world, wanted=True)
        assert total(await world.reply_to_repeated(1)) == 1
        assert world.core.silence_s - before_s >= limits.REPEAT_MAX_S


async def test_what_there_is_no_room_for_is_left_to_its_sender(world: Running) -> None:
    async with unread(world):
        await until_direct(world, wanted=True)
        has_room = world.service._reader._room
        asked = asyncio.Event()
        world.service._reader._room = asked.set  # which is no yes
        await world.add(1)
        await asyncio.wait_for(asked.wait(), 5)
        world.service._reader._room = has_room
        await world.add(2)
        assert total(await world.reply()) == 2
        assert world.core.sums["a"] == 2
