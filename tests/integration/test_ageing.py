"""What the services keep of long ago, with clocks that go behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest

import hivewire_agent_gateway.fold
import hivewire_conversation.fold
import hivewire_tick_engine.fold
from hivewire.client import Client
from hivewire.commands.conversation import Done, SetGraph
from hivewire.errors import RefusedError
from hivewire.events.merge import MergeCompleted
from hivewire.graph import Edge, Node
from hivewire.inbox import SessionDispatch
from hivewire.subjects import CONVERSATION, Subjects
from hivewire_agent_gateway.main import DEFINITION as GATEWAY
from hivewire_conversation.main import DEFINITION as CONVERSATIONS
from hivewire_service.answer import Answers
from hivewire_service.bus import Bus
from hivewire_service.health import Health
from hivewire_service.lease import Lease
from hivewire_service.migrations import migrate
from hivewire_service.run import SENDER, Definition
from hivewire_service.service import Service
from hivewire_service.settings import Settings
from hivewire_service.store import Store
from hivewire_tick_engine.main import DEFINITION as TICK_ENGINE

from .test_agent_gateway import messages, register
from .test_conversation import connected, peers
from .test_sessions import answer, ask
from .tick_engine import topology

FOLDS = (hivewire_agent_gateway.fold, hivewire_conversation.fold, hivewire_tick_engine.fold)


class Behind:
    """A clock that goes behind by some days."""

    def __init__(self, days: float) -> None:
        self._behind = timedelta(days=days)

    def now(self) -> datetime:
        return datetime.now(UTC) - self._behind


@asynccontextmanager
async def one(hive, definition: Definition, days: float) -> AsyncIterator[None]:
    settings = Settings(
        hive=hive.name,
        nats_url=hive.nats_url,
        nats_creds=hive.credentials("service"),
        postgres_dsn=hive.postgres_dsn,
        keys_file=hive.keys_file,
    )
    subjects = Subjects(hive.name)
    store = Store(hive.postgres_dsn, hive.name, definition.name)
    await store.open()
    bus = Bus(hive.nats_url, str(hive.credentials("service")), SENDER, "test")
    await bus.connect()
    await Answers(definition.name, bus, store, subjects, definition.reads).start("0.0.0")
    service = Service(
        definition.name,
        definition.parts(settings, subjects),
        bus=bus,
        store=store,
        lease=Lease(store, 2.0),
        subjects=subjects,
        clock=Behind(days),
        health=Health({}),
        stream_replicas=1,
    )
    running = asyncio.ensure_future(service.run())
    yield
    service.stop()
    await running
    await bus.close()
    await store.close()


@asynccontextmanager
async def services(hive, days: float) -> AsyncIterator[None]:
    """The services as they were some days ago."""
    await migrate(hive.postgres_dsn, hive.name)
    async with AsyncExitStack() as stack:
        for definition in (GATEWAY, CONVERSATIONS, TICK_ENGINE):
            await stack.enter_async_context(one(hive, definition, days))
        yield


@pytest.fixture
async def tables(hive) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name, "timezone": "UTC"})
    yield connection
    await connection.close()


async def shortened(hive, tables: asyncpg.Connection, days: float) -> None:
    """Wait until all services have let go what is too old, seen from some days ago, and it is dropped."""
    moment = datetime.now(UTC) - timedelta(days=days + 31)
    while await tables.fetchval("SELECT count(*) FROM position WHERE history_from > $1", moment) < len(FOLDS):
        await asyncio.sleep(0.05)
    store = Store(hive.postgres_dsn, hive.name, "conversation")
    await store.open()
    while await tables.fetchval("SELECT count(*) FROM event WHERE recorded_at < $1", moment):
        with contextlib.suppress(asyncpg.LockNotAvailableError):
            await store.drop_history()  # as an owner does within the hour, once all is on the bus
        await asyncio.sleep(0.05)
    await store.close()


async def differences(tables: asyncpg.Connection) -> list[str]:
    return [found for fold in FOLDS for found in await fold.differences(tables)]


async def live_a_little(hive) -> None:
    async with (
        connected(hive, "publisher", "pub") as pub,
        connected(hive, "operator") as operator,
        connected(hive, "agent", "bob") as remote,
        messages(remote) as told,
        peers(hive, "ann", "cid") as (ann, cid),
    ):
        await register(remote, "i1", agent_type="remote")
        for name in ("s1", "s2"):
            await ask(pub, id=name, content=msgspec.Raw(b"1"))
            given = await told.get()
            assert isinstance(given, SessionDispatch)
            await answer(remote, given)
        graph = SetGraph(nodes=[Node("ann"), Node("cid")], edges=[Edge(source="ann", target="cid")])
        await operator.command(CONVERSATION, "set_graph", graph, Done)
        asked = await ann.ask("agent:cid")
        await cid.answer(asked.conversation_id)
        await ann.receive(asked.conversation_id)
        await Client(pub).publish(MergeCompleted(task_id="t1"), id="e1")
        sims = Client(operator).simulations
        made = await sims.create(topology("a b", "a=b"), simulation_id="sim")
        await sims.start(made.simulation_id)
        await sims.send("sim", "b", "hello", "a")
        await sims.tick("sim", 3)


async def test_rows_outlive_their_events_and_go_after_their_time(hive, tables):
    async with services(hive, 100):
        await live_a_little(hive)
    assert await differences(tables) == []
    async with services(hive, 50), connected(hive, "publisher", "pub") as pub:
        await shortened(hive, tables, 50)
        again = await Client(pub).publish(MergeCompleted(task_id="t1"), id="e1")
        assert not again.recorded, "the same event is known although history has forgotten it"
    kinds = {row["type"] for row in await tables.fetch("SELECT DISTINCT type FROM event")}
    assert {"session.snapshot", "agent.snapshot", "conversation.snapshot", "graph.set"} <= kinds
    assert not kinds & {"session.created", "agent.spawned", "conversation.created", "simulation.created"}
    assert await tables.fetchval("SELECT count(*) FROM session") == 2
    assert await differences(tables) == []
    async with services(hive, 0), connected(hive, "operator") as operator:
        await shortened(hive, tables, 0)
        assert await tables.fetchval("SELECT count(*) FROM session") == 1, "the newest stays"
        for table in ("conversation", "foreign_event"):
            assert await tables.fetchval(f"SELECT count(*) FROM {table}") == 0
        assert await differences(tables) == []
        sims = Client(operator).simulations
        assert (await sims.tick("sim", 2)).tick == 5
        with pytest.raises(RefusedError, match="not kept any more") as refused:
            await sims.replay("sim")
        assert refused.value.status == 410
    assert await differences(tables) == []
