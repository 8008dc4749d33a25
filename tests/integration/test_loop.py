"""The loop over the real nats-server and Postgres, with the smallest core there is: named sums."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from tests.conftest import Hive

from faults.links import Link, links
from hivewire import codec, ids
from hivewire.envelope import Envelope
from hivewire_service import lease, service, store
from hivewire_service.core import Command, Refusal, Step, Write
from hivewire_service.migrations import migrate
from hivewire_service.service import Service
from hivewire_service.store import Store, Unit
from hivewire_service.turn import Turn
from integration.sums import SERVICE, Add, Running, Sums, running, start, stored_events, total
from ports import free_port


@pytest.fixture
async def world(hive: Hive) -> AsyncIterator[Running]:
    async with running(hive) as world:
        yield world


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
