"""The broker's tables in the real Postgres: a random life is written, loaded and compared with its history."""

import random
from datetime import timedelta

import asyncpg
import msgspec
import pytest

from hivewire import codec
from hivewire.commands.broker import Approve, OfPhase, Submit
from hivewire.explanations import Explanation
from hivewire.inbox import KINDS, TaskDispatch
from hivewire.reads import BROKER
from hivewire.subjects import Subjects
from hivewire.views import Page, TaskView
from hivewire_agent_gateway.rows import SQL as GATEWAY_SQL
from hivewire_broker.fold import compare, differences
from hivewire_broker.reads import READS
from hivewire_broker.rows import TaskRows
from hivewire_broker.scoring import FACTORS
from hivewire_service.core import Command, Refusal
from hivewire_service.migrations import migrate
from unit.broker.driver import Driver

AGENTS = {"ann": ["python", "review"], "bob": ["python"], "cid": []}


class StoredDriver(Driver):
    """A driver that commits what happened, as the loop does."""

    def __init__(self, connection: asyncpg.Connection, subjects: Subjects) -> None:
        super().__init__()
        self.connection = connection
        self.rows = TaskRows(self.broker, subjects)
        self.written = 0

    async def commit(self) -> list:
        """Write everything since the last commit; returns what is then sent to agents."""
        events, records = self.events[self.written :], self.records
        async with self.connection.transaction():
            for write in self.rows.writes(events, records, self.now):
                await self.connection.execute(write.sql, *write.arguments)
            for seq, event in enumerate(events, self.written + 1):
                await self.connection.execute(
                    "INSERT INTO event (writer, seq, recorded_at, type, entity_id, data) VALUES ($1, $2, $3, $4, $5, $6)",
                    *("broker", seq, self.now, event.type, event.entity_id, codec.encode(event).decode()),
                )
        self.written, self.records = len(self.events), []
        return list(await self.rows.messages(self.connection, events, records))

    async def load_for(self, verb: str, data: msgspec.Struct) -> None:
        await self.rows.load_for(self.connection, [Command("next", verb, "boss", data)], self.now)


@pytest.fixture
async def connection(hive):
    await migrate(hive.postgres_dsn, hive.name)
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name, "timezone": "UTC"})
    await connection.execute("CREATE TABLE event_all PARTITION OF event DEFAULT")
    yield connection
    await connection.close()


@pytest.fixture
async def driver(hive, connection) -> StoredDriver:
    return StoredDriver(connection, Subjects(hive.name))


async def register(driver: StoredDriver, agent: str, instance: str, slots: int = 2) -> None:
    """An agent as the gateway writes it, and as its event tells it."""
    skills = AGENTS[agent]
    row = (agent, agent, "native", None, "present", False, codec.encode(skills).decode(), slots, None, "always-on")
    rest = ("{}", "{}", instance, "[]", driver.now, driver.now, False, None)
    await driver.connection.execute(GATEWAY_SQL.write_agents, *([value] for value in (*row, *rest)))
    driver.spawn(agent, *skills, instance=instance, slots=slots)


async def ask(connection: asyncpg.Connection, name: str, **parameters):
    query = READS[name]
    return await query.handler(connection, query.parameters(**parameters), "boss")


def live(driver: Driver, choice: random.Random) -> str | None:
    tasks = sorted(driver.broker.state.tasks)
    return choice.choice(tasks) if tasks else None


async def one_step(driver: StoredDriver, choice: random.Random, number: int) -> None:
    task = live(driver, choice)
    match choice.randrange(16):
        case 0 | 1 | 2:
            needs = [task] if task and choice.random() < 0.4 else []
            driver.submit(
                f"t{number}",
                depends_on=needs,
                priority=choice.randrange(11),
                required_capabilities=choice.choice([[], ["Python"], ["review"], ["nobody"]]),
                payload=msgspec.Raw(b'{"a": "\\u0000 \xc3\xa9", "n": 1e3}'),
                labels=choice.choice([{}, {"team": 'a"\\ {x},'}]),
                files=choice.choice([[], ['a "b"\\,c', "{}", "NULL", ""]]),
                max_retries=choice.randrange(3),
                on_dependency_failure=choice.choice(["block", "cancel"]),
                deadline=choice.choice([None, driver.now + timedelta(seconds=500)]),
                requires_approval=choice.choice([None, True, False]),
                concurrency_key=choice.choice([None, None, "db"]),
                phase_id=choice.choice([None, None, *sorted(driver.broker.state.phases)]),
                risk=choice.choice([None, 0.9]),
            )
        case 3 if task:
            driver.start(task)
        case 4 | 5 if task:
            driver.complete(task)
        case 6 if task:
            driver.fail(task, retry=choice.random() < 0.8)
        case 7 if task:
            (driver.cancel if choice.random() < 0.3 else driver.retry)(task)
        case 8:
            agent = choice.choice(sorted(AGENTS))
            await register(driver, agent, f"{agent}-{number}")
        case 9 | 10 | 11 if task:
            steer(driver, choice, task)
        case 12 | 13 | 14:
            plan(driver, choice, f"p{number}")
        case _:
            driver.wait(choice.choice([1.0, 70.0]))


def steer(driver: StoredDriver, choice: random.Random, task: str) -> None:
    """Something that people ask for a task."""
    verb = choice.choice(["approve", "block", "unblock", "queue", "dispatch", "reject", "update"])
    known = sorted(driver.broker.state.tasks)
    needs = choice.sample(known, min(len(known), choice.randrange(3)))
    changes = {
        "depends_on": needs,
        "labels": {"team": "b"},
        "metadata": msgspec.Raw(b'{"x": [1]}'),
        "priority": choice.randrange(11),
    }
    fields = {
        "reject": {"reason": "not good", "final": choice.random() < 0.3},
        "update": dict(choice.sample(sorted(changes.items()), 2)),
    }
    driver.ask(verb, task_id=task, **fields.get(verb, {}))


def plan(driver: StoredDriver, choice: random.Random, phase_id: str) -> None:
    """A new phase, or something that people ask for one."""
    known = sorted(driver.broker.state.phases)
    if not known or choice.random() < 0.3:
        needs = choice.sample(known, min(2, len(known)))
        driver.phase(phase_id, up_to="approve", initiative_id="i", depends_on=needs)
    else:
        verb = choice.choice(["queue", "queue", "dispatch", "block", "unblock", "complete"])
        driver.ask(f"{verb}_phase", choice.choice(known))


@pytest.mark.parametrize("seed", range(4))
async def test_rows_are_what_the_events_add_up_to(driver, connection, seed):
    choice = random.Random(seed)
    driver.ask("create_initiative", title="all of it", id="i", requires_approval=True)
    for number in range(500):
        await one_step(driver, choice, number)
        if choice.random() < 0.3:
            await driver.commit()
        if choice.random() < 0.02:
            await driver.commit()
            held = {agent: set(held) for agent, held in driver.broker.state.held.items()}
            await driver.rows.load(connection, driver.now)
            assert held == {agent: set(held) for agent, held in driver.broker.state.held.items()}
    await driver.commit()
    assert driver.written > 300
    assert await differences(connection) == []


async def test_a_difference_is_found(driver, connection):
    await register(driver, "bob", "bob-1")
    driver.submit("t1")
    driver.complete("t1")
    await driver.commit()
    assert await differences(connection) == []
    await connection.execute("UPDATE task SET status = 'cancelled', result = '1', title = 'x'")
    await connection.execute("UPDATE attempt SET ended_at = NULL")
    found = "\n".join(await differences(connection))
    for what in ("status is 'cancelled'", "title is 'x'", "its result", "ended_at is None"):
        assert what in found


async def test_a_loaded_state_goes_on_where_it_was(driver, connection):
    await register(driver, "bob", "bob-1", slots=1)
    for name in ("t1", "t2", "t3"):
        driver.submit(name)
    driver.submit("late", depends_on=["t3"])
    driver.complete("t1")
    await driver.commit()
    before = driver.broker.state
    await driver.rows.load(connection, driver.now)
    state = driver.broker.state
    assert set(state.tasks) == {"t2", "t3", "late"}
    del before.tasks["t1"]
    assert compare(before, state) == []
    driver.settle()
    driver.complete("t2")
    driver.complete("t3")
    assert [task for task, _ in driver.assigned()] == ["t1", "t2", "t3", "late"]
    await driver.commit()
    assert await differences(connection) == []


async def test_attempts_of_agents_that_went_while_nobody_looked_are_lost(driver, connection):
    await register(driver, "bob", "bob-1")
    driver.submit("t1")
    await driver.commit()
    await connection.execute("UPDATE agent SET instance = 'bob-2'")
    await driver.rows.load(connection, driver.now)
    driver.settle()
    assert driver.types("t1")[-3:] == ["reassigned", "retry", "assigned"]
    assert driver.task("t1").attempts[-1].instance == "bob-2"


async def test_ended_tasks_are_brought_back_when_they_are_named(driver, connection):
    await register(driver, "bob", "bob-1")
    driver.submit("done")
    driver.complete("done")
    driver.submit("dead")
    driver.fail("dead", retry=False)
    await driver.commit()
    await driver.rows.load(connection, driver.now)
    assert not driver.broker.state.tasks

    repeat = Submit(title="a task", id="done", depends_on=[])
    await driver.load_for("submit", repeat)
    assert driver.send("submit", repeat).created is False
    assert driver.submit("unknown-need", depends_on=["dead"]).status == 422

    needs = Submit(title="a task", id="after", depends_on=["dead", "done"])
    await driver.load_for("submit", needs)
    assert driver.send("submit", needs).status == "blocked"
    assert driver.retry("dead").status == "pending"
    assert driver.status("after") == "pending"
    driver.complete("dead")
    assert driver.status("after") == "assigned"
    await driver.commit()
    assert await differences(connection) == []


async def test_agents_are_given_what_was_submitted(driver, connection):
    await register(driver, "ann", "ann-1", slots=1)
    driver.submit("t1", payload=msgspec.Raw(b'{"deep": [1, 2.50]}'), labels={"team": "a"})
    driver.submit("t2")
    first = await driver.commit()
    driver.complete("t1")
    driver.rows = TaskRows(driver.broker, Subjects("hive"))  # a new owner, which has no content at hand
    (second,) = await driver.commit()
    for message, task_id in ((first[0], "t1"), (second, "t2")):
        envelope = codec.decode_envelope(message.body)
        dispatch = codec.decode_data(envelope, KINDS)
        assert message.subject.endswith(".inbox.ann.task")
        assert envelope.id == f"{task_id}.1"
        assert isinstance(dispatch, TaskDispatch)
        assert (dispatch.task_id, dispatch.attempt, dispatch.instance) == (task_id, 1, "ann-1")
    assert b'{"deep": [1, 2.50]}' in first[0].body


async def test_reads(driver, connection):
    await register(driver, "ann", "ann-1", slots=1)
    await register(driver, "bob", "bob-1", slots=1)
    driver.submit("t1", required_capabilities=["review"], labels={"team": "a"}, payload=msgspec.Raw(b"[1]"))
    driver.submit("t2", required_capabilities=["review"], owner="kim")
    driver.submit("t3", depends_on=["t2"], priority="high")
    driver.submit("t4", required_capabilities=["cooking"])
    driver.start("t1")
    driver.progress("t1", 0.5, "half")
    await driver.commit()

    t1 = await ask(connection, "task", task_id="t1")
    assert isinstance(t1, TaskView)
    assert (t1.status, t1.agent_id, t1.progress, t1.progress_message) == ("running", "ann", 0.5, "half")
    assert (bytes(t1.payload), t1.labels, t1.attempts[0].status) == (b"[1]", {"team": "a"}, "running")
    assert (await ask(connection, "task", task_id="x")).status == 404

    page = await ask(connection, "tasks", limit=2)
    assert isinstance(page, Page)
    assert [task.task_id for task in page.items] == ["t4", "t3"]
    rest = await ask(connection, "tasks", limit=2, cursor=page.cursor)
    assert ([task.task_id for task in rest.items], rest.cursor) == (["t2", "t1"], None)
    for filters, found in (
        ({"status": ["running"]}, ["t1"]),
        ({"owner": "kim"}, ["t2"]),
        ({"agent": "ann"}, ["t1"]),
        ({"label": "team=a"}, ["t1"]),
        ({"label": "team=b"}, []),
        ({"ids": ["t3", "t1"]}, ["t3", "t1"]),
        ({"status": ["completed", "pending"]}, ["t4", "t3", "t2"]),
    ):
        assert [task.task_id for task in (await ask(connection, "tasks", **filters)).items] == found
    for wrong in ({"status": ["odd"]}, {"label": "team"}, {"cursor": "x"}):
        assert isinstance(await ask(connection, "tasks", **wrong), Refusal)

    queue = await ask(connection, "queue")
    assert (queue.queued, queue.ready, queue.blocked) == (1, 2, 0)
    assert [task.task_id for task in queue.items] == ["t3", "t2", "t4"]

    explanation = await ask(connection, "explain", task_id="t1")
    assert isinstance(explanation, Explanation)
    assert explanation.candidates[0].agent_id == "ann"
    assert explanation.gated == {"capabilities": 1}
    assert sum(f.contribution for f in explanation.candidates[0].factors.values()) == pytest.approx(
        explanation.candidates[0].score, abs=1e-3
    )
    assert (await ask(connection, "explain", task_id="t2")).status == 404

    assert (await ask(connection, "why", task_id="t1")).sentence == "agent ann works on attempt 1"
    assert (await ask(connection, "why", task_id="t2")).nearest_miss == "ann: busy"
    assert (await ask(connection, "why", task_id="t3")).waits_for == "task t2"
    assert "lacks cooking" in (await ask(connection, "why", task_id="t4")).sentence

    driver.fail("t1", retry=False)
    await driver.commit()
    assert [task.task_id for task in (await ask(connection, "dead")).items] == ["t1"]
    stats = await ask(connection, "stats")
    assert (stats.tasks["failed"], stats.agents) == (1, {"present": 2})


async def test_a_result_that_waits_for_approval_outlives_the_owner(driver, connection):
    await register(driver, "bob", "bob-1")
    driver.submit("t1", requires_approval=True)
    driver.complete("t1", result=b'{"kept": true}', cost=0.5)
    await driver.commit()
    driver.ask("update", task_id="t1", priority=9)
    await driver.commit()
    await driver.rows.load(connection, driver.now)
    data = Approve("t1")
    await driver.load_for("approve", data)
    assert driver.send("approve", data).status == "completed"
    await driver.commit()
    view = await ask(connection, "task", task_id="t1")
    assert (bytes(view.result), view.priority, view.attempts[0].cost) == (b'{"kept": true}', 9, 0.5)
    assert await differences(connection) == []


@pytest.mark.parametrize("commits_between", [True, False])
async def test_work_that_is_cancelled_before_its_approval_has_no_result(driver, connection, commits_between):
    await register(driver, "bob", "bob-1")
    driver.submit("t1", requires_approval=True)
    driver.complete("t1", result=msgspec.Raw(b"1"))
    if commits_between:
        await driver.commit()
    driver.ask("cancel", task_id="t1")
    await driver.commit()
    assert (await ask(connection, "task", task_id="t1")).result == msgspec.Raw(b"null")
    assert await differences(connection) == []


async def test_a_started_phase_goes_on_with_the_next_owner(driver, connection, monkeypatch):
    monkeypatch.setattr("hivewire_broker.phases.QUEUED_MAX", 2)
    await register(driver, "bob", "bob-1", slots=9)
    driver.phase("p", up_to="approve")
    for number in range(5):
        driver.submit(f"t{number}", phase_id="p")
    driver.follow(driver.broker.decide(Command("c", "queue_phase", "boss", OfPhase("p")), driver.now))
    driver.follow(driver.broker.advance(driver.now))
    driver.follow(driver.broker.advance(driver.now))
    assert [driver.task(f"t{number}").queued for number in range(5)] == [True, True, False, False, False]
    await driver.commit()
    await driver.rows.load(connection, driver.now)
    driver.settle()
    for number in range(5):
        assert driver.complete(f"t{number}").status == "completed"
    assert driver.broker.state.phases["p"].status == "completed"
    await driver.commit()
    assert await differences(connection) == []


async def test_reads_of_phases_and_choices(driver, connection):
    await register(driver, "bob", "bob-1", slots=1)
    driver.ask("create_initiative", title="launch", id="i", metadata=msgspec.Raw(b'{"a": 1}'))
    driver.phase("a", up_to="approve", initiative_id="i")
    driver.phase("b", depends_on=["a"])
    driver.phase("c", up_to="approve")
    driver.ask("block_phase", "c", "budget")
    for task in ("t1", "t2"):
        driver.submit(task, phase_id="a")
    await driver.commit()
    queue = await ask(connection, "phase_queue")
    assert [[p.phase_id for p in part] for part in (queue.queued, queue.ready, queue.blocked)] == [["b"], ["a"], ["c"]]
    assert (await ask(connection, "next_phase", initiative_id="i")).phase_id == "a"
    assert (await ask(connection, "next_phase", initiative_id="x")).status == 404
    assert (await ask(connection, "next")).status == 404
    driver.ask("dispatch_next_phase")
    await driver.commit()
    assert (await ask(connection, "next")).task_id == "t2"
    assert (await ask(connection, "phase", phase_id="a")).tasks == {"assigned": 1, "pending": 1}
    shown = await ask(connection, "initiative", initiative_id="i")
    assert ([p.status for p in shown.phases], bytes(shown.metadata)) == (["running"], b'{"a": 1}')
    page = await ask(connection, "phases", limit=2)
    assert [p.phase_id for p in page.items] == ["c", "b"]
    assert [p.phase_id for p in (await ask(connection, "phases", limit=2, cursor=page.cursor)).items] == ["a"]
    assert [i.initiative_id for i in (await ask(connection, "initiatives")).items] == ["i"]
    for name, parameters in (("phase", {"phase_id": "x"}), ("initiative", {"initiative_id": "x"})):
        assert (await ask(connection, name, **parameters)).status == 404
    even = dict.fromkeys(FACTORS, 1 / len(FACTORS))
    assert (await ask(connection, "explain", task_id="t1", weights=even)).winner == "bob"
    found = await ask(connection, "whatif", weights=even, since=driver.now)
    assert (found.decisions, found.changed, found.loads) == (1, 0, {"bob": (1, 1)})
    assert (await ask(connection, "whatif", weights={"trust": 1.0}, since=driver.now)).status == 400


def test_every_read_has_its_parameters():
    assert {name: query.parameters for name, query in READS.items()} == BROKER


@pytest.mark.parametrize("seed", range(4))
async def test_the_past_is_what_a_snapshot_showed(driver, connection, seed):
    choice = random.Random(seed)
    driver.ask("create_initiative", title="all of it", id="i")
    snapshots = []
    for number in range(150):
        await one_step(driver, choice, number)
        await driver.commit()
        if choice.random() < 0.25 and driver.broker.state.tasks:
            task = live(driver, choice)
            queue = await ask(connection, "queue")
            for item in queue.items:
                item.attempts = []
            snapshots.append((driver.now, task, await ask(connection, "task", task_id=task), queue))
        driver.jump(0.001)
    assert len(snapshots) >= 25
    for moment, task, view, queue in snapshots:
        assert await ask(connection, "task", task_id=task, as_of=moment) == view
        past = await ask(connection, "queue", as_of=moment)
        assert past.items == queue.items
        assert (past.blocked, past.ready + past.queued) == (queue.blocked, queue.ready + queue.queued)


async def test_moments_of_which_nothing_is_known(driver, connection):
    driver.submit("t1")
    await driver.commit()
    before = await ask(connection, "task", task_id="t1", as_of=driver.now - timedelta(seconds=1))
    assert (before.status, "no task 't1' at" in before.error) == (404, True)
    later = await ask(connection, "queue", as_of=driver.now + timedelta(days=10_000))
    assert (later.status, "has not come yet" in later.error) == (422, True)
    await connection.execute("DROP TABLE event_all")
    await connection.execute(
        "CREATE TABLE event_day PARTITION OF event FOR VALUES FROM ('2026-01-01') TO ('2026-01-02')"
    )
    gone = await ask(connection, "task", task_id="t1", as_of=driver.now - timedelta(days=1))
    assert (gone.status, "history begins at 2026-01-01" in gone.error) == (422, True)
