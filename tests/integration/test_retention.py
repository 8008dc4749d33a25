"""History that is dropped day by day, and rows that are removed after their time, with a clock of the test's choosing."""

import contextlib
import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import asyncpg
import pytest

from hivewire.events.kept import Snapshot
from hivewire.events.task import TaskCreated
from hivewire.subjects import BROKER, Subjects
from hivewire_broker.fold import differences
from hivewire_broker.keeping import keeping
from hivewire_service.migrations import migrate
from hivewire_service.retention import Cut, Decide, Keeping, Periods, Retention
from hivewire_service.store import Store
from integration.test_broker_rows import StoredDriver, ask, live, one_step, register

DAY = timedelta(days=1)
PERIODS = Periods(history=3 * DAY, ended=8 * DAY)


class Interrupted(Exception):
    """The process ended."""


class Turns:
    """The loop of the service, in steps of the test's."""

    def __init__(self, driver: StoredDriver, store: Store) -> None:
        self.driver = driver
        self.store = store
        self.left: int | None = None

    async def do(self, decide: Decide) -> bool:
        if self.left is not None:
            if self.left == 0:
                raise Interrupted
            self.left -= 1
        driver = self.driver
        step = await decide(driver.connection, Cut(driver.now, driver.written))
        before = len(driver.events)
        for event in step.events:
            if not isinstance(event, Snapshot):
                driver.broker.evolve(event)
            driver.events.append(event)
        driver.records += step.records
        await driver.commit()
        await published(driver.connection, BROKER, driver.written)
        return len(driver.events) > before


async def published(connection: asyncpg.Connection, service: str, seq: int) -> None:
    await connection.execute(
        "INSERT INTO position (service, event_seq, published_seq) VALUES ($1, $2, $2) "
        "ON CONFLICT (service) DO UPDATE SET event_seq = $2, published_seq = $2",
        service,
        seq,
    )


@pytest.fixture
async def store(hive) -> AsyncIterator[Store]:
    await migrate(hive.postgres_dsn, hive.name)
    store = Store(hive.postgres_dsn, hive.name, BROKER)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def driver(hive, store) -> AsyncIterator[StoredDriver]:
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name, "timezone": "UTC"})
    driver = StoredDriver(connection, Subjects(hive.name))
    await store.add_event_partitions(driver.now)
    yield driver
    await connection.close()


def retention(turns: Turns, periods: Periods = PERIODS, kept: Keeping | None = None) -> Retention:
    return Retention(turns, kept or keeping(turns.driver.broker), periods, lambda: turns.driver.now)


async def days(connection: asyncpg.Connection) -> list[str]:
    rows = await connection.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'event'::regclass ORDER BY 1"
    )
    return [row["name"].removeprefix("event_") for row in rows]


async def test_history_is_not_vacuumed_for_what_was_inserted(driver):
    options = await driver.connection.fetch(
        "SELECT DISTINCT reloptions FROM pg_class JOIN pg_inherits ON inhrelid = oid WHERE inhparent = 'event'::regclass"
    )
    assert [row["reloptions"] for row in options] == [["autovacuum_vacuum_insert_threshold=-1"]]


def first_day(now: datetime) -> str:
    return f"{now - PERIODS.history:%Y%m%d}"


@pytest.mark.parametrize("seed", range(2))
async def test_rows_follow_from_what_is_left_and_so_does_the_past(driver, store, seed):
    choice = random.Random(seed)
    turns = Turns(driver, store)
    driver.ask("create_initiative", title="all of it", id="i")
    seen = []
    for number in range(100):
        await one_step(driver, choice, number)
        await driver.commit()
        await published(driver.connection, BROKER, driver.written)
        if choice.random() < 0.15:
            turns.left = choice.choice([None, None, 0, 1, 2])  # it is ended in the middle now and then
            with contextlib.suppress(Interrupted):
                await retention(turns).keep()
            turns.left = None
        if number % 3 == 0 and (task := live(driver, choice)):
            seen.append((driver.now, task, await ask(driver.connection, "task", task_id=task)))
        driver.jump(choice.choice([60.0, 3600.0, 10 * 3600.0]))
        await driver.commit()
    await retention(turns).keep()
    assert (await days(driver.connection))[0] == first_day(driver.now)
    assert await differences(driver.connection) == []
    compared = 0
    for moment, task, view in seen:
        past = await ask(driver.connection, "task", task_id=task, as_of=moment)
        if moment < (driver.now - PERIODS.history).replace(hour=0, minute=0, second=0, microsecond=0):
            assert (past.status, "history begins at" in past.error) == (422, True)
        elif await driver.connection.fetchval("SELECT true FROM task WHERE task_id = $1", task):
            assert past == view
            compared += 1
    assert compared >= 3
    assert await driver.connection.fetchval("SELECT count(*) FROM event WHERE type = 'task.snapshot'")


async def test_what_ended_long_ago_is_removed_unless_something_needs_it(driver, store):
    await register(driver, "ann", "ann-1", slots=50)
    for task in ("done", "needed", "dropped"):
        driver.submit(task)
    driver.submit("waits", depends_on=["needed"])
    driver.start("done")
    driver.complete("done")
    driver.cancel("needed")
    driver.cancel("dropped")
    await driver.commit()
    await published(driver.connection, BROKER, driver.written)
    turns = Turns(driver, store)
    driver.jump(9 * 86400.0)
    await driver.commit()
    await retention(turns).keep()
    left = {row["task_id"] for row in await driver.connection.fetch("SELECT task_id FROM task")}
    assert "done" not in left
    assert {"needed", "waits"} <= left
    assert await driver.connection.fetchval("SELECT count(*) FROM attempt WHERE task_id = 'done'") == 0
    assert "done" not in driver.broker.state.tasks
    assert await differences(driver.connection) == []
    removed = await driver.connection.fetch("SELECT entity_id FROM event WHERE type = 'task.removed' ORDER BY 1")
    assert [row["entity_id"] for row in removed] == ["done", "dropped"]
    driver.submit("done")
    await driver.commit()
    assert await differences(driver.connection) == []


async def test_a_day_is_dropped_when_all_services_let_it_go_and_all_of_it_is_on_the_bus(driver, store):
    driver.submit("t1")
    await driver.commit()
    await published(driver.connection, BROKER, driver.written)
    await published(driver.connection, "conversation", 0)
    first = await days(driver.connection)
    turns = Turns(driver, store)
    driver.jump(5 * 86400.0)
    await driver.commit()
    await retention(turns).keep()
    assert set(first) <= set(await days(driver.connection))
    other = Store(store._dsn, store._hive, "conversation")
    await other.open()
    await driver.connection.execute("UPDATE position SET published_seq = 0 WHERE service = $1", BROKER)
    quiet = Turns(driver, other)
    await retention(quiet, kept=Keeping()).keep()
    assert "20260101" in await days(driver.connection)
    await published(driver.connection, BROKER, driver.written)
    await retention(quiet, kept=Keeping()).keep()
    assert (await days(driver.connection))[0] == first_day(driver.now)
    assert await differences(driver.connection) == []
    await other.close()


async def test_snapshots_are_written_once_however_often_it_is_interrupted(driver, store):
    for number in range(250):
        driver.submit(f"t{number:03}")
    await driver.commit()
    await published(driver.connection, BROKER, driver.written)
    driver.jump(5 * 86400.0)
    await driver.commit()
    turns = Turns(driver, store)
    for _ in range(3):
        turns.left = 1
        with pytest.raises(Interrupted):
            await retention(turns).keep()
        assert not [event for event in driver.events if isinstance(event, TaskCreated)][250:]
    turns.left = None
    await retention(turns).keep()
    count, tasks = await driver.connection.fetchrow(
        "SELECT count(*), count(DISTINCT entity_id) FROM event WHERE type = 'task.snapshot'"
    )
    assert (count, tasks) == (250, 250)
    assert await differences(driver.connection) == []
