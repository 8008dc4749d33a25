"""The servers in memory, on which hives are simulated, keep to what the real ones do: one suite for both."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from nats.errors import NoRespondersError
from structlog.testing import capture_logs
from tests.conftest import Hive

from hivewire.subjects import BROKER, Subjects
from hivewire_service.bus import ApiError, Bus
from hivewire_service.core import Kept
from hivewire_service.lease import Lease
from hivewire_service.migrations import migrate
from hivewire_service.store import SQL, Fenced, Outcome, Position, Reject, Store, StoredEvent, Unit
from hivewire_service.stream_reader import Place, Received, StreamReader, next_seq
from hivewire_service.topology import command_stream, event_stream
from simulation import hive as simulated
from simulation.nats.client import Client, Network
from simulation.nats.server import NatsServer
from simulation.postgres.database import Database, Pool, Session
from simulation.postgres.tables import Row

BOTH = pytest.mark.parametrize("kind", ["real", "memory"])


# Postgres -------------------------------------------------------------------------------------------
class MemoryStore(Store):
    """A store over a database in memory, without a network between."""

    def __init__(self, service: str) -> None:
        super().__init__("", "hive", service)
        self._database = Database(lambda: datetime.now(UTC))

    async def open(self) -> None:
        self.pool = Pool(self._database)  # type: ignore[assignment]

    async def connect(self, **_: str) -> Any:
        return Session(self._database)


@pytest.fixture
async def store(kind: str, hive: Hive) -> AsyncIterator[Store]:
    store = MemoryStore(BROKER)
    if kind == "real":
        await migrate(hive.postgres_dsn, hive.name)
        store = Store(hive.postgres_dsn, hive.name, BROKER)
    await store.open()
    await store.add_event_partitions(datetime.now(UTC))
    yield store
    await store.close()


async def commit(store: Store, epoch: int, made: Unit) -> None:
    await store.execute(epoch, store.statement(epoch, made))


def unit(position: Position, *seqs: int, **parts: Any) -> Unit:
    now = datetime.now(UTC)
    events = [StoredEvent(seq, "sum.added", f"s{seq}", b'{"a":1}', now, causation_id=f"c{seq}") for seq in seqs]
    position.event_seq = seqs[-1] if seqs else position.event_seq
    return Unit(at=now, position=position, events=events, **parts)


async def owned(store: Store) -> tuple[int, Position]:
    """The epoch of a fresh lease, and the position."""
    term = await Lease(store, 60).acquire()
    return term.epoch, await store.read_position(await store.owner())


@BOTH
async def test_a_commit_is_read_back_whole(store: Store) -> None:
    epoch, position = await owned(store)
    assert position == Position()
    position.stream_created, position.command_seq, position.published_seq = "then", 7, 1
    outcome = Outcome("c1", "ann", "reply.ok", b'{"ok":true}')
    reject = Reject("hive.cmd.broker.x.ann", "ann", "unknown\0", b"\xff")
    await commit(store, epoch, unit(position, 1, 2, outcomes=[outcome], rejects=[reject]))
    assert await store.read_position(await store.owner()) == position
    assert [event.seq for event in await store.events_after(0, 2, 10)] == [1, 2]
    assert [event.entity_id for event in await store.events_after(1, 2, 10)] == ["s2"]
    assert [event.seq for event in await store.events_after(0, 2, 1)] == [1]
    asked = [("c1", "ann"), ("c1", "bob"), ("c2", "ann")]
    assert await store.known_outcomes(await store.owner(), asked) == {("c1", "ann"): outcome}
    assert await store.pool.fetchval("SELECT body FROM reject") == b"\xff"
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert await store.seq_before(tomorrow, 2) == 2
    assert await store.seq_before(tomorrow - timedelta(days=2), 2) == 0


@BOTH
async def test_a_flood_of_rejects_adds_up_in_one_row_a_minute(store: Store) -> None:
    epoch, position = await owned(store)
    minute = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def flood(count: int, **other: Any) -> Reject:
        return msgspec.structs.replace(Reject("s", "eve", "no", b"%d" % count, Kept.REPORT, count, minute), **other)

    alone = Reject("s", "eve", "no", b"alone", Kept.REPORT)
    await commit(store, epoch, unit(position, rejects=[alone, alone, flood(3), flood(4, sender="ann")]))
    others = [flood(6, kind=Kept.QUOTA), flood(7, minute=minute + timedelta(minutes=1))]
    await commit(store, epoch, unit(position, rejects=[alone, flood(5), *others]))
    rows = await store.pool.fetch("SELECT sender, kind, count, body FROM reject WHERE minute IS NOT NULL")
    assert sorted((row["sender"], row["kind"], row["count"], row["body"]) for row in rows) == [
        ("ann", "report", 4, b"4"),
        ("eve", "quota", 6, b"6"),
        ("eve", "report", 7, b"7"),
        ("eve", "report", 8, b"3"),
    ]
    assert await store.pool.fetchval("SELECT count(*) FROM reject WHERE minute IS NULL") == 3


@BOTH
async def test_a_commit_that_fails_leaves_nothing(store: Store) -> None:
    epoch, position = await owned(store)
    taken = [Outcome("c1", "ann", "reply.ok", b"{}")]
    with pytest.raises(asyncpg.PostgresError):
        await commit(store, epoch, unit(position, 1, 1, outcomes=taken))
    assert await store.known_outcomes(await store.owner(), [("c1", "ann")]) == {}
    assert await store.events_after(0, 9, 10) == []
    assert await store.read_position(await store.owner()) == Position()


@BOTH
async def test_another_epoch_writes_nothing(store: Store) -> None:
    epoch, position = await owned(store)
    for other in (epoch - 1, epoch + 1):
        with pytest.raises(Fenced):
            await commit(store, other, unit(position, 1))
    assert await store.events_after(0, 9, 10) == []


@BOTH
async def test_a_lease_is_taken_when_it_is_over_and_by_its_owner(store: Store) -> None:
    async def take(owner: str, seconds: float = 60) -> Any:
        return await store.pool.fetchrow(SQL.take_lease, BROKER, owner, seconds)

    first = await take("one")
    assert (first["epoch"], first["vacant_s"]) == (1, None)
    assert await take("two") is None
    again = await take("one", -1)
    assert again["epoch"] == 2
    assert 0 <= again["vacant_s"] < 10
    assert (await take("two"))["epoch"] == 3
    assert await store.pool.execute(SQL.renew_lease, BROKER, 2, 60.0) == "UPDATE 0"
    assert await store.pool.execute(SQL.renew_lease, BROKER, 3, 60.0) == "UPDATE 1"
    await store.pool.execute(SQL.release_lease, BROKER, 3)
    assert (await take("one"))["epoch"] == 4


@BOTH
async def test_a_snapshot_stays_as_it_was(store: Store) -> None:
    epoch, position = await owned(store)
    count = "SELECT count(*) FROM event"
    async with store.pool.acquire() as reader, reader.transaction(isolation="repeatable_read", readonly=True):
        assert await reader.fetchval(count) == 0
        await commit(store, epoch, unit(position, 1))
        assert await reader.fetchval(count) == 0
    assert await store.pool.fetchval(count) == 1


@dataclass(frozen=True, slots=True)
class Heard:
    """A statement of a simulated hive, with its answer and the epochs that held when it ran."""

    sql: str
    arguments: tuple[Any, ...]
    answer: list[Row] | asyncpg.PostgresError
    epochs: dict[str, int]


SET_EPOCH = "INSERT INTO lease VALUES ($1, $2, '', now(), now()) ON CONFLICT (service) DO UPDATE SET epoch = $2"
"""Leases depend on the time, so the real ones follow those in memory."""


class Overheard(simulated.Hive):
    """A hive whose statements are kept."""

    heard: list[Heard]

    async def run(self) -> simulated.Outcome:
        self.heard = Overheard.heard = []
        self.database.on_answer = lambda *said: self.heard.append(Heard(*said, self._epochs()))
        return await super().run()

    def _epochs(self) -> dict[str, int]:
        return {row["service"]: row["epoch"] for row in self.database.rows_of("lease").values()}


@pytest.fixture(params=[14])
def heard(request: pytest.FixtureRequest) -> list[Heard]:
    """What a seed asks of Postgres."""
    with capture_logs():
        simulated.run(request.param, Overheard)
    return Overheard.heard


async def test_every_statement_of_a_simulated_hive_is_answered_alike(hive: Hive, heard: list[Heard]) -> None:
    await migrate(hive.postgres_dsn, hive.name)
    settings = {"search_path": hive.name, "timezone": "UTC"}
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings=settings)
    texts, epochs = set(), dict[str, int]()
    for one in heard:
        if one.sql not in (SQL.take_lease, SQL.renew_lease, SQL.release_lease):
            assert await answer_of(connection, one) == said(one.answer, one.sql), one.sql
            texts.add(one.sql)
        for service, epoch in one.epochs.items() - epochs.items():
            await connection.execute(SET_EPOCH, service, epoch)
        epochs = one.epochs
    print(f"{len(heard)} statements of {len(texts)} kinds")
    await connection.close()


async def answer_of(connection: asyncpg.Connection, heard: Heard) -> Any:
    try:
        return said([dict(row) for row in await connection.fetch(heard.sql, *heard.arguments)], heard.sql)
    except asyncpg.PostgresError as error:
        return said(error, heard.sql)


def said(answer: list[Row] | asyncpg.PostgresError, sql: str) -> Any:
    """An answer, comparable: rows without an order are sorted."""
    if isinstance(answer, asyncpg.PostgresError):
        return answer.sqlstate
    rows = [tuple(row.values()) for row in answer]
    return rows if "ORDER BY" in sql else sorted(map(repr, rows))


# NATS -----------------------------------------------------------------------------------------------
@pytest.fixture
async def bus(kind: str, hive: Hive) -> AsyncIterator[Bus]:
    bus = Bus(hive.nats_url, str(hive.credentials("service")), "service", "conformance")
    if kind == "memory":
        loop = asyncio.get_running_loop()
        server = NatsServer(loop, lambda: datetime.now(UTC).timestamp())
        bus.client = Client(Network(loop, server, random.Random(1)))  # type: ignore[assignment]
    await bus.connect()
    yield bus
    await bus.close()


class Listener:
    """What a stream's reader delivers."""

    def __init__(self) -> None:
        self.received: list[Received] = []

    def deliver(self, received: Received) -> None:
        self.received.append(received)

    async def until(self, count: int) -> list[Received]:
        async with asyncio.timeout(20):
            while len(self.received) < count:
                await asyncio.sleep(0.01)
        return self.received


def commands(hive: Hive) -> tuple[Subjects, dict[str, Any]]:
    subjects = Subjects(hive.name)
    return subjects, command_stream(subjects, BROKER, 1)


@BOTH
async def test_a_stream_is_made_once_and_known_by_its_birth(bus: Bus, hive: Hive) -> None:
    _, config = commands(hive)
    made = await bus.ensure_stream(config)
    assert (made.first_seq, made.last_seq) in ((0, 0), (1, 0))
    assert await bus.ensure_stream(config) == made
    await bus.api(f"STREAM.DELETE.{config['name']}")
    with pytest.raises(ApiError) as gone:
        await bus.stream_state(config["name"])
    assert gone.value.code == 10059
    assert (await bus.ensure_stream(config)).created != made.created


@BOTH
async def test_a_reader_gets_what_is_there_and_what_comes_in_order(bus: Bus, hive: Hive) -> None:
    subjects, config = commands(hive)
    listener = Listener()
    await bus.ensure_stream(config)
    for number in range(3):
        await bus.publish(subjects.command(BROKER, "submit", "ann"), b"%d" % number, headers={"Hive-Reply": "x"})
    reading = asyncio.ensure_future(reader(bus, subjects, config, listener).run())
    await listener.until(3)
    for number in range(3, 6):
        await bus.publish(subjects.command(BROKER, "submit", "bob"), b"%d" % number)
    received = await listener.until(6)
    assert [one.body for one in received] == [b"%d" % number for number in range(6)]
    assert [one.seq for one in received] == [1, 2, 3, 4, 5, 6]
    assert received[0].headers == {"Hive-Reply": "x"}
    assert received[3].subject == subjects.command(BROKER, "submit", "bob")
    stream = await bus.stream_state(config["name"])
    assert {one.stream_created for one in received} == {stream.created}
    for one in received:
        assert await bus.message_ns(stream.name, one.seq) == one.ns
    assert await bus.message_ns(stream.name, 7) is None
    last = received[3]
    assert await next_seq(bus, stream, Place(stream.created, last.seq, last.ns)) == 5
    assert await next_seq(bus, stream, Place(stream.created, last.seq, last.ns + 1)) == 1
    assert await next_seq(bus, stream, Place("another", last.seq, last.ns)) == 1
    await bus.purge_below(stream.name, 4)
    stream = await bus.stream_state(stream.name)
    assert (stream.first_seq, stream.last_seq) == (4, 6)
    assert await next_seq(bus, stream, Place(stream.created, 2, received[1].ns)) == 4
    reading.cancel()


def reader(bus: Bus, subjects: Subjects, config: dict[str, Any], listener: Listener) -> StreamReader:
    async def start(stream: Any) -> int:
        return max(stream.first_seq, 1) if not listener.received else await next_seq(bus, stream, place(listener))

    return StreamReader(
        bus, lambda: bus.ensure_stream(config), subjects.commands_of(BROKER), start=start, deliver=listener.deliver
    )


def place(listener: Listener) -> Place:
    last = listener.received[-1]
    return Place(last.stream_created, last.seq, last.ns)


@BOTH
async def test_a_deleted_stream_is_made_again_and_read_on(bus: Bus, hive: Hive) -> None:
    subjects, config = commands(hive)
    listener = Listener()
    await bus.ensure_stream(config)
    reading = asyncio.ensure_future(reader(bus, subjects, config, listener).run())
    await bus.publish(subjects.command(BROKER, "submit", "ann"), b"before")
    await listener.until(1)
    await bus.api(f"STREAM.DELETE.{config['name']}")
    while len(listener.received) < 2:
        await bus.publish(subjects.command(BROKER, "submit", "ann"), b"after")
        await asyncio.sleep(0.05)
    assert (listener.received[1].body, listener.received[1].seq) == (b"after", 1)
    reading.cancel()


@BOTH
async def test_events_are_acknowledged_and_commands_are_not(bus: Bus, hive: Hive) -> None:
    subjects, config = commands(hive)
    event = subjects.event("task.created", "t1")
    with pytest.raises(NoRespondersError):
        await bus.client.request(event, b"{}", timeout=5)
    await bus.ensure_stream(event_stream(subjects, 1))
    ack = msgspec.json.decode((await bus.client.request(event, b"{}", timeout=5)).data)
    assert (ack["stream"], ack["seq"]) == (subjects.event_stream, 1)
    await bus.ensure_stream(config)
    with pytest.raises(TimeoutError):
        await bus.client.request(subjects.command(BROKER, "submit", "ann"), b"{}", timeout=0.3)
    assert (await bus.stream_state(config["name"])).last_seq == 1


@BOTH
async def test_the_event_stream_drops_the_entity_of_a_subject(bus: Bus, hive: Hive) -> None:
    subjects = Subjects(hive.name)
    config = event_stream(subjects, 1)
    listener, live = Listener(), []

    async def hear(message: Any) -> None:
        live.append(message.subject)

    await bus.client.subscribe(subjects.events("task.*", "t1"), cb=hear)
    await bus.ensure_stream(config)
    for event_type, entity in (("task.created", "t1"), ("agent.spawned", "a1"), ("task.created", "t2")):
        await bus.client.request(subjects.event(event_type, entity), entity.encode(), timeout=5)

    async def first(_: Any) -> int:
        return 1

    reading = StreamReader(
        bus, lambda: bus.ensure_stream(config), subjects.stored_events("task.*"), first, listener.deliver
    )
    running = asyncio.ensure_future(reading.run())
    received = await listener.until(2)
    assert [(one.subject, one.body, one.seq) for one in received] == [
        (subjects.stored_events("task.created"), b"t1", 1),
        (subjects.stored_events("task.created"), b"t2", 3),
    ]
    assert live == [subjects.event("task.created", "t1")]
    running.cancel()


@BOTH
async def test_a_stream_refuses_what_is_too_much(bus: Bus, hive: Hive) -> None:
    subjects, config = commands(hive)
    config = config | {"max_msgs_per_subject": 2, "max_msg_size": 100}
    await bus.ensure_stream(config)
    for sender, size in (("ann", 1), ("ann", 101), ("ann", 1), ("ann", 1), ("bob", 1)):
        await bus.publish(subjects.command(BROKER, "submit", sender), b"x" * size)
    async with asyncio.timeout(10):
        while (await bus.stream_state(config["name"])).last_seq < 3:
            await asyncio.sleep(0.01)
    assert (await bus.stream_state(config["name"])).last_seq == 3
