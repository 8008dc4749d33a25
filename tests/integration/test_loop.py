"""The loop over the real nats-server and Postgres, with the smallest core there is: named sums."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, ClassVar
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest
from nats.aio.client import Client
from tests.conftest import Hive

from faults.links import Link, links
from hivewire import codec, ids
from hivewire.envelope import Envelope
from hivewire.events import Event
from hivewire.subjects import REPLY_HEADER, Subjects
from hivewire_service import lease, service, store
from hivewire_service.bus import ApiError, Bus
from hivewire_service.clock import SystemClock
from hivewire_service.core import NOTHING, Command, Message, Refusal, Step, Write
from hivewire_service.health import Health
from hivewire_service.lease import Lease
from hivewire_service.migrations import migrate
from hivewire_service.service import Parts, Service
from hivewire_service.store import Store, Unit
from hivewire_service.turn import Turn
from ports import free_port

SERVICE = "broker"


class Add(msgspec.Struct):
    sum_id: str
    amount: int


class Added(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "sum.added"
    key: ClassVar[str] = "sum_id"
    sum_id: str
    amount: int


class Sums:
    """Adds what it is told to. Three amounts are special, so that a command can fail where real ones might."""

    RAISES_IN_DECIDE = 666
    RAISES_IN_EVOLVE = 667
    RAISES_IN_POSTGRES = 668

    verbs: ClassVar = {"submit": Add, "start": Add}
    naturally_idempotent: ClassVar = frozenset({"start"})
    decided_ahead: ClassVar = frozenset({"start"})

    def __init__(self) -> None:
        self.sums: dict[str, int] = {}
        self.silence_s = 0.0

    def decide(self, command: Command, now: datetime) -> Step | Refusal:
        if command.data.amount == self.RAISES_IN_DECIDE:
            raise ZeroDivisionError("decide")
        if command.data.amount < 0:
            return Refusal("only upwards", 409)
        return Step([Added(sum_id=command.data.sum_id, amount=command.data.amount)])

    def evolve(self, event: Event) -> None:
        assert isinstance(event, Added)
        if event.amount == self.RAISES_IN_EVOLVE:
            raise ZeroDivisionError("evolve")
        self.sums[event.sum_id] = self.sums.get(event.sum_id, 0) + event.amount

    def observe(self, observation: Any, now: datetime) -> Step:
        return NOTHING

    def advance(self, now: datetime) -> Step:
        return NOTHING

    def next_due(self) -> datetime | None:
        return None

    def extend(self, silence_s: float, now: datetime) -> None:
        self.silence_s += silence_s

    def reply(self, command: Command) -> Any:
        return {"sum": self.sums[command.data.sum_id]}


class SumRows:
    def __init__(self, core: Sums) -> None:
        self._core = core

    async def load(self, connection: asyncpg.Connection, now: datetime) -> None:
        await connection.execute("CREATE TABLE IF NOT EXISTS sums (sum_id text PRIMARY KEY, total bigint)")
        self._core.sums = {row["sum_id"]: row["total"] for row in await connection.fetch("SELECT * FROM sums")}

    async def load_for(self, connection: asyncpg.Connection, commands: Sequence[Command], now: datetime) -> None:
        pass

    def writes(self, events: Sequence[Event], records: Sequence[Any], now: datetime) -> Iterable[Write]:
        totals = {event.entity_id: str(self._core.sums[event.entity_id]) for event in events}
        if any(isinstance(event, Added) and event.amount == Sums.RAISES_IN_POSTGRES for event in events):
            totals["a"] = "no number"
        if totals:
            yield Write(
                "INSERT INTO sums SELECT sum_id, total::bigint FROM unnest($1::text[], $2::text[]) AS new (sum_id, total) "
                "ON CONFLICT (sum_id) DO UPDATE SET total = excluded.total",
                (list(totals), list(totals.values())),
            )

    async def messages(self, pool: asyncpg.Pool, events: Sequence[Event], records: Sequence[Any]) -> Iterable[Message]:
        return []


class Running:
    """A running service and a client of it."""

    def __init__(self, hive: Hive, service: Service, core: Sums, store: Store, client: Client) -> None:
        self.hive = hive
        self.service = service
        self.core = core
        self.store = store
        self.client = client
        self.subjects = Subjects(hive.name)
        self.replies: asyncio.Queue[Envelope] = asyncio.Queue()

    async def listen(self) -> None:
        async def receive(message: Any) -> None:
            envelope = codec.decode_envelope(message.data)
            assert isinstance(envelope, Envelope)
            self.replies.put_nowait(envelope)

        await self.client.subscribe("_INBOX.operator.replies", cb=receive)

    async def send(self, body: bytes, verb: str = "submit", reply_to: str = "_INBOX.operator.replies") -> None:
        subject = self.subjects.command(SERVICE, verb, "operator")
        await self.client.publish(subject, body, headers={REPLY_HEADER: reply_to})

    async def add(self, amount: int, sum_id: str = "a", command_id: str | None = None, verb: str = "submit") -> str:
        command_id = command_id or ids.new_id()
        data = codec.raw(Add(sum_id, amount))
        await self.send(
            codec.encode(Envelope(id=command_id, type=f"{SERVICE}.{verb}", source="/test", data=data)), verb
        )
        return command_id

    async def reply(self) -> Envelope:
        return await asyncio.wait_for(self.replies.get(), 20)

    async def reply_to_repeated(self, amount: int, **options: Any) -> Envelope:
        """As a client does it: repeat until the reply is there."""
        command_id = ids.new_id()
        while True:
            await self.add(amount, command_id=command_id, **options)
            try:
                return await asyncio.wait_for(self.replies.get(), 1)
            except TimeoutError:
                continue

    async def events(self) -> list[asyncpg.Record]:
        return await self.store.pool.fetch("SELECT * FROM event ORDER BY seq")

    async def rejects(self) -> list[asyncpg.Record]:
        return await self.store.pool.fetch("SELECT * FROM reject ORDER BY reject_id")


async def start(hive: Hive, core: Sums, *beside: Callable[[Service], Any]) -> tuple[Service, Bus, Store]:
    store = Store(hive.postgres_dsn, hive.name, SERVICE)
    await store.open()
    bus = Bus(hive.nats_url, str(hive.credentials("service")), "service", "test")
    await bus.connect()
    service = Service(
        SERVICE,
        Parts(core, SumRows(core), while_owner=beside),
        bus=bus,
        store=store,
        lease=Lease(store, 2.0),
        subjects=Subjects(hive.name),
        clock=SystemClock(),
        health=Health({}),
        stream_replicas=1,
    )
    return service, bus, store


@asynccontextmanager
async def running(hive: Hive) -> AsyncIterator[Running]:
    await migrate(hive.postgres_dsn, hive.name)
    core = Sums()
    service, bus, store = await start(hive, core)
    task = asyncio.create_task(service.run())
    client = await hive.connect("operator")
    try:
        world = Running(hive, service, core, store, client)
        await world.listen()
        assert codec.decode_data(await world.reply_to_repeated(0), {"reply.ok": dict}) == {"sum": 0}
        yield world
    finally:
        service.stop()
        await asyncio.wait_for(task, 10)
        await client.close()
        await bus.close()
        await store.close()


@pytest.fixture
async def world(hive: Hive) -> AsyncIterator[Running]:
    async with running(hive) as world:
        yield world


def total(envelope: Envelope) -> int:
    assert envelope.type == "reply.ok", bytes(envelope.data)
    return msgspec.json.decode(envelope.data)["sum"]


async def test_reply_follows_the_commit(world: Running) -> None:
    command_id = await world.add(5)
    reply = await world.reply()
    assert total(reply) == 5
    assert reply.causationid == command_id
    event = (await world.events())[-1]
    assert (event["type"], event["causation_id"], event["data"]) == (
        "sum.added",
        command_id,
        '{"sum_id":"a","amount":5}',
    )


async def test_repeat_gets_the_stored_outcome(world: Running) -> None:
    command_id = await world.add(5)
    first = await world.reply()
    await world.add(5, command_id=command_id)
    again = await world.reply()
    assert (again.type, again.data, world.core.sums["a"]) == (first.type, first.data, 5)


async def test_repeat_within_one_batch(world: Running) -> None:
    command_id = ids.new_id()
    for _ in range(50):
        await world.add(5, command_id=command_id)
    assert {total(await world.reply()) for _ in range(50)} == {5}


async def test_refusal_is_an_outcome_too(world: Running) -> None:
    command_id = await world.add(-1)
    refused = await world.reply()
    assert (refused.type, msgspec.json.decode(refused.data)["status"]) == ("reply.refused", 409)
    await world.add(-1, command_id=command_id)
    assert (await world.reply()).data == refused.data
    assert await world.rejects() == []


@pytest.mark.parametrize("poison", [Sums.RAISES_IN_DECIDE, Sums.RAISES_IN_EVOLVE, Sums.RAISES_IN_POSTGRES])
async def test_poison_in_the_middle_of_a_batch(world: Running, poison: int) -> None:
    for number in range(500):
        await world.add(poison if number == 250 else 1, verb="start")
    replies = [await world.reply() for _ in range(500)]
    assert [reply.type for reply in replies].count("reply.refused") == 1
    assert world.core.sums["a"] == 499
    assert await world.store.pool.fetchval("SELECT total FROM sums WHERE sum_id = 'a'") == 499
    (reject,) = await world.rejects()
    assert str(poison) in reject["body"].decode()
    assert [event["seq"] for event in await world.events()] == list(range(1, 501))


async def test_malformed_messages_are_kept_whole(world: Running) -> None:
    bodies = [b"", b"not json", b"\xff\xfe", b"[" * 100_000, b'{"specversion":"9","id":"x","type":"y","source":"z"}']
    for body in bodies:
        await world.send(body)
        assert (await world.reply()).type == "reply.refused"
    await world.send(b"{}", verb="conquer")
    assert (await world.reply()).type == "reply.refused"
    assert [reject["body"] for reject in await world.rejects()] == [*bodies, b"{}"]
    await world.add(1)
    assert total(await world.reply()) == 1


async def test_nothing_is_published_where_the_sender_may_not_listen(world: Running) -> None:
    heard: list[Any] = []

    async def hear(message: Any) -> None:
        heard.append(message)

    eavesdropper = await world.hive.connect("service")
    for subject in ("_INBOX.victim.>", f"{world.hive.name}.inbox.>"):
        await eavesdropper.subscribe(subject, cb=hear)
    await eavesdropper.flush()
    for target in (
        "_INBOX.victim.x",
        f"{world.hive.name}.inbox.victim.task",
        "_INBOX.operator.>",
        "_INBOX.operatorx.y",
    ):
        body = codec.encode(
            Envelope(id=ids.new_id(), type=f"{SERVICE}.submit", source="/", data=codec.raw(Add("a", 7)))
        )
        await world.send(body, reply_to=target)
    await world.add(1)
    assert total(await world.reply()) == 1
    await eavesdropper.flush()
    assert heard == []
    assert len(await world.rejects()) == 4
    await eavesdropper.close()


async def test_events_reach_the_bus_once_acknowledged(world: Running) -> None:
    for number in range(100):
        await world.add(1, sum_id=f"s{number % 7}")
    for _ in range(100):
        await world.reply()

    async def published() -> int:
        return await world.store.pool.fetchval("SELECT published_seq FROM position WHERE service = $1", SERVICE)

    async with asyncio.timeout(10):
        while await published() < 101:
            await asyncio.sleep(0.05)
    assert await stored_events(world) == 101


async def stored_events(world: Running) -> int:
    try:
        return (await world.service.bus.stream_state(world.subjects.event_stream)).last_seq
    except ApiError:
        return 0


async def test_deleted_streams_are_made_again_and_history_republished(world: Running) -> None:
    assert total(await world.reply_to_repeated(1)) == 1
    for stream in (world.subjects.event_stream, world.subjects.command_stream(SERVICE)):
        await world.service.bus.api(f"STREAM.DELETE.{stream}")
    assert total(await world.reply_to_repeated(1)) == 2
    async with asyncio.timeout(10):
        while await stored_events(world) < 3:
            await asyncio.sleep(0.05)
    events = await world.events()
    assert [event["seq"] for event in events] == [1, 2, 3]


async def test_a_fenced_owner_writes_nothing_and_stands_by(world: Running) -> None:
    assert total(await world.reply_to_repeated(1)) == 1
    await world.store.pool.execute(
        "UPDATE lease SET epoch = epoch + 1, owner = 'other', expires_at = now() + interval '3 seconds'"
    )
    await world.add(1)
    assert total(await world.reply()) == 2
    lease = await world.store.pool.fetchrow("SELECT epoch, owner FROM lease WHERE service = $1", SERVICE)
    assert lease["epoch"] == 3
    assert lease["owner"] != "other"


async def test_a_standby_takes_over_and_goes_on_where_the_owner_was(world: Running) -> None:
    assert total(await world.reply_to_repeated(3)) == 3
    core = Sums()
    standby, bus, store = await start(world.hive, core)
    task = asyncio.create_task(standby.run())
    world.service.stop()
    assert total(await world.reply_to_repeated(4)) == 7
    assert core.sums == {"a": 7}
    standby.stop()
    await asyncio.wait_for(task, 10)
    await bus.close()
    await store.close()


async def test_postgres_connections_killed(world: Running) -> None:
    """An owner whose commit failed or is unknown takes its lease again and reloads."""
    for _ in range(5):
        await world.store.pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'hivewire broker' AND pid <> pg_backend_pid()"
        )
        await world.reply_to_repeated(1, verb="start")
    rows = await world.store.pool.fetchval("SELECT total FROM sums WHERE sum_id = 'a'")
    assert rows == world.core.sums["a"] == len(await world.events()) - 1


async def test_postgres_and_the_loop_do_not_wait_for_one_another(
    world: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a turn is committed the next one is decided, and not before; the one before it is said then, and not sooner."""
    commands, decided, handed, said, committed, under_way = 3_000, 0, 0, 0, 0, False
    decided_meanwhile = said_meanwhile = 0
    decide, statement, execute, say = world.core.decide, world.store.statement, world.store.execute, world.service._say

    def counted(command: Command, now: datetime) -> Step | Refusal:
        nonlocal decided, decided_meanwhile
        decided += 1
        decided_meanwhile += under_way
        return decide(command, now)

    def stated(epoch: int, unit: Unit) -> Write:
        nonlocal handed
        handed += len(unit.events)
        return statement(epoch, unit)

    async def noted(epoch: int, write: Write) -> None:
        nonlocal under_way, committed
        stored = handed
        assert stored == decided, "something was decided before the last turn's commit was sent"
        under_way = True
        await execute(epoch, write)
        under_way, committed = False, stored

    async def told(turn: Turn) -> None:
        nonlocal said, said_meanwhile
        said += len(turn.stored)
        said_meanwhile += under_way and bool(turn.stored)
        assert said <= committed, "something was said before it was committed"
        await say(turn)

    monkeypatch.setattr(world.core, "decide", counted)
    monkeypatch.setattr(world.store, "statement", stated)
    monkeypatch.setattr(world.store, "execute", noted)
    monkeypatch.setattr(world.service, "_say", told)
    for _ in range(commands):
        await world.add(1, verb="start")
    for _ in range(commands):
        await world.reply()
    assert said == committed == commands
    assert decided_meanwhile > 0
    assert said_meanwhile > 0


@pytest.fixture
def link(hive: Hive) -> Iterator[tuple[Hive, Link]]:
    """The hive with a link to Postgres, and the link."""
    postgres = urlsplit(hive.postgres_dsn)
    port = free_port()
    with links({"postgres": (port, postgres.port)}) as made:
        dsn = postgres._replace(netloc=postgres.netloc.replace(f":{postgres.port}", f":{port}")).geturl()
        yield replace(hive, postgres_dsn=dsn), made["postgres"]


@pytest.fixture
def soon_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn does not wait long for Postgres."""
    monkeypatch.setattr(store, "TURN_TIMEOUT_S", 0.5)
    monkeypatch.setattr(service, "TURN_TIMEOUT_S", 0.5)


@pytest.mark.usefixtures("soon_given_up")
async def test_connections_to_postgres_that_lead_nowhere_are_replaced(
    link: tuple[Hive, Link],
) -> None:
    """Nobody says that they are dead; only answers that do not come tell."""
    hive, to_postgres = link
    async with running(hive) as world:
        for verb in ("start", "submit"):
            while not world.service.owns():  # a load may take its time
                await asyncio.sleep(0.05)
            to_postgres.forget()
            async with asyncio.timeout(25):
                await world.reply_to_repeated(1, verb=verb)


async def test_a_link_that_dies_while_partitions_are_changed_lets_go_of_them(link: tuple[Hive, Link]) -> None:
    hive, to_postgres = link
    await migrate(hive.postgres_dsn, hive.name)
    opened = Store(hive.postgres_dsn, hive.name, SERVICE)
    await opened.open()
    unanswered = asyncio.Event()

    async def change() -> None:
        async with opened._changing_partitions() as connection:
            to_postgres.forget()
            with pytest.raises(TimeoutError):
                await connection.execute("SELECT 1", timeout=0.1)
            unanswered.set()

    changing = asyncio.create_task(change())
    await unanswered.wait()
    await opened.connect_anew()
    async with asyncio.timeout(20):
        await opened.add_event_partitions(datetime.now(UTC))
        with pytest.raises(store.CONNECTION_ERRORS):
            await changing
    await opened.close()


@pytest.mark.usefixtures("soon_given_up")
async def test_what_is_asked_over_connections_that_lead_nowhere_holds_up_nothing(
    link: tuple[Hive, Link],
) -> None:
    """Readers ask before anybody notices, and have all connections of the pool."""
    hive, to_postgres = link
    async with running(hive) as world:
        pool = world.store.pool
        everyone = range(pool.get_max_size())
        await asyncio.gather(*(pool.execute("SELECT pg_sleep(0.1)") for _ in everyone))
        to_postgres.forget()
        asked = [asyncio.create_task(pool.execute("SELECT 1")) for _ in everyone]
        async with asyncio.timeout(15):
            await world.reply_to_repeated(1)
            given_up = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(each, store.CONNECTION_ERRORS) for each in given_up), given_up


async def test_a_turn_does_not_outlast_the_lease_on_a_link_that_stands_still(
    link: tuple[Hive, Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "UNRENEWED_LEASES_MAX", 0.5)
    hive, to_postgres = link
    async with running(hive) as world:
        to_postgres.stall()
        await world.add(1)
        async with asyncio.timeout(10):
            while world.service.owns():
                await asyncio.sleep(0.05)
        await world.service._cut_off.wait()
        to_postgres.restore()
        assert total(await world.reply()) == 1


async def test_terms_that_fail_for_a_lasting_reason_follow_one_another_with_growing_pauses(hive: Hive) -> None:
    await migrate(hive.postgres_dsn, hive.name)
    begun: list[float] = []
    lasting = asyncio.Event()

    async def fails(_: Service) -> None:
        begun.append(asyncio.get_running_loop().time())
        if len(begun) <= 5:
            raise ConnectionError("for a lasting reason")
        lasting.set()
        await asyncio.Event().wait()

    service, bus, store = await start(hive, Sums(), fails)
    task = asyncio.create_task(service.run())
    async with asyncio.timeout(20):
        await lasting.wait()
    service.stop()
    await asyncio.wait_for(task, 10)
    await bus.close()
    await store.close()
    pauses = [later - earlier for earlier, later in pairwise(begun)]
    assert all(pause >= least for pause, least in zip(pauses[1:], (0.1, 0.2, 0.4, 0.8), strict=True)), pauses
