"""The smallest core there is, named sums, as a running service with a client: for tests of the loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, ClassVar

import asyncpg
import msgspec
from nats.aio.client import Client
from tests.conftest import Hive

from hivewire import codec, ids
from hivewire.envelope import Envelope
from hivewire.events import Event
from hivewire.subjects import REPLY_HEADER, Subjects
from hivewire_service.bus import ApiError, Bus
from hivewire_service.clock import SystemClock
from hivewire_service.core import NOTHING, Command, Message, Refusal, Step, Write
from hivewire_service.health import Health
from hivewire_service.lease import Lease
from hivewire_service.migrations import migrate
from hivewire_service.service import Parts, Service
from hivewire_service.store import Store

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


def total(envelope: Envelope) -> int:
    assert envelope.type == "reply.ok", bytes(envelope.data)
    return msgspec.json.decode(envelope.data)["sum"]


async def stored_events(world: Running) -> int:
    try:
        return (await world.service.bus.stream_state(world.subjects.event_stream)).last_seq
    except ApiError:
        return 0
