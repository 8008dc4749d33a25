"""The outbox on a nats-server in memory."""

import asyncio
import random
from datetime import UTC, datetime

import msgspec

from hivewire.subjects import BROKER, Subjects
from hivewire_service.bus import Bus
from hivewire_service.outbox import Outbox
from hivewire_service.store import Position, StoredEvent
from simulation.nats.client import Client, Network, Weather
from simulation.nats.server import NatsServer

EVENTS = 3


class Rows:
    """The store, as far as an outbox reads it. Something is refused while it is read for the first time."""

    service = BROKER

    def __init__(self) -> None:
        self.outbox: Outbox
        self.reads = 0

    async def events_after(self, seq: int, last_seq: int, limit: int) -> list[StoredEvent]:
        self.reads += 1
        if self.reads == 1:
            self.outbox.fall_behind()
        now = datetime.now(UTC)
        return [StoredEvent(n, "task.queued", f"t{n}", b"{}", now) for n in range(seq + 1, last_seq + 1)]


def event(seq: int) -> StoredEvent:
    return StoredEvent(seq, "task.queued", f"t{seq}", b"{}", datetime.now(UTC))


async def test_listeners_hear_all_in_order_without_a_stream_which_gets_all_in_order_later():
    loop, rows, subjects = asyncio.get_running_loop(), Rows(), Subjects()
    server = NatsServer(loop, lambda: datetime.now(UTC).timestamp())
    bus = Bus("nats://memory:4222", None, "service", "test")
    network = Network(loop, server, random.Random(1))
    network.weather = Weather(delay_s=0.0)
    bus.client = Client(network)
    await bus.connect()
    heard: list[int] = []

    async def hear(message):
        heard.append(msgspec.json.decode(message.data)["seq"])

    await bus.client.subscribe(subjects.events(), hear)
    rows.outbox = outbox = Outbox(bus, rows, subjects, Position(event_seq=EVENTS), 1, clock=lambda: datetime.now(UTC))
    running = asyncio.ensure_future(outbox.run())
    async with asyncio.timeout(20):
        while outbox.backlog or not outbox._live:
            await asyncio.sleep(0.01)
        server.lose_leader(subjects.event_stream)
        await outbox.publish([event(4)])
        while not outbox._is_out:
            await asyncio.sleep(0.01)
        await outbox.publish([event(5), event(6)])
        while heard[-1] != 6:
            await asyncio.sleep(0.01)
        assert list(dict.fromkeys(heard)) == [1, 2, 3, 4, 5, 6]
        assert len(server.streams[subjects.event_stream].messages) == EVENTS
        server.leaderless.clear()
        while outbox.backlog:
            await asyncio.sleep(0.01)
    stored = [
        msgspec.json.decode(one.message.body)["seq"] for one in server.streams[subjects.event_stream].messages.values()
    ]
    assert stored == [1, 2, 3, 4, 5, 6]
    running.cancel()


async def test_what_falls_behind_while_it_catches_up_catches_up_again_and_rests():
    loop, rows = asyncio.get_running_loop(), Rows()
    bus = Bus("nats://memory:4222", None, "service", "test")
    bus.client = Client(Network(loop, NatsServer(loop, lambda: datetime.now(UTC).timestamp()), random.Random(1)))
    await bus.connect()
    outbox = rows.outbox = Outbox(bus, rows, Subjects(), Position(event_seq=EVENTS), 1, clock=lambda: datetime.now(UTC))
    running = asyncio.ensure_future(outbox.run())
    async with asyncio.timeout(20):
        while outbox.backlog or not outbox._live:
            await asyncio.sleep(0.01)
        assert not outbox._fell_behind.is_set(), "it would never wait again"
        await outbox.publish([StoredEvent(EVENTS + 1, "task.queued", "t", b"{}", datetime.now(UTC))])
        while outbox.backlog:
            await asyncio.sleep(0.01)
    assert outbox.published_seq == EVENTS + 1
    running.cancel()
