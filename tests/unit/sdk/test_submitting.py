import asyncio
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivewire import (
    BadUsage,
    Client,
    HivewireError,
    NotReachable,
    RefusedError,
    TaskCancelled,
    TaskFailed,
    batch,
    limits,
    submitting,
)
from hivewire.context import Context
from hivewire.correlation import correlated
from hivewire.envelope import ErrorBody
from hivewire.ids import task_id_for_key
from hivewire.submission import fields_of, from_mapping, submission


@pytest.fixture
def client(connection):
    return Client(connection)


# --- one task ---------------------------------------------------------------------------------------
def test_short_names_and_those_of_the_wire_mean_the_same():
    short = submission(
        "x", needs=["a"], key="k", after=["t"], timeout_s=5, retries=1, priority="high", payload={"n": 1}
    )
    wire = from_mapping(
        {
            "title": "x",
            "required_capabilities": ["a"],
            "idempotency_key": "k",
            "depends_on": ["t"],
            "timeout_seconds": 5,
            "max_retries": 1,
            "priority": "high",
            "payload": {"n": 1},
        }
    )
    assert msgspec.json.encode(short) == msgspec.json.encode(wire)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"titel": "x"}, "no field 'titel'"),
        ({"needs": ["a"], "required_capabilities": ["b"]}, "given twice"),
        ({"title": ""}, "title"),
        ({"title": "x", "priority": 11}, "priority"),
        ({"title": "x", "priority": "urgent"}, "take 0 to 10, or high, medium, low"),
        ({"title": "x", "payload": object()}, "not a task"),
        ({"title": "x", "timeout_s": -1}, "timeout_seconds"),
        ({"title": "x", "depends_on": 3}, "depends_on"),
        ({"title": "x", "id": "a.b"}, "id"),
    ],
)
def test_what_no_task_can_have_is_bad_usage(fields, text):
    with pytest.raises(BadUsage, match=text):
        from_mapping(fields)


def test_a_payload_in_a_file_is_passed_on_as_it_is_written():
    line = b'{"title": "x", "payload": {"n": 123456789012345678901234567890, "z": 1.10}}'
    assert bytes(from_mapping(fields_of(line)).payload) == b'{"n": 123456789012345678901234567890, "z": 1.10}'


@pytest.mark.parametrize("line", [b"", b"[]", b"nonsense", b'{"title":' + b"[" * 100_000, b"\xff"])
def test_a_line_that_is_no_object_is_bad_usage(line):
    with pytest.raises(BadUsage):
        fields_of(line)


async def test_submit_returns_a_handle(fake, client):
    fake.answers["submit"] = lambda asked: {"task_id": "t1", "status": "pending", "created": False}
    before = client.handle("t0")
    handle = await client.submit("x", needs="a", after=[before])
    assert (handle.id, handle.created) == ("t1", False)
    assert fake.asked[0].data == {"title": "x", "required_capabilities": ["a"], "depends_on": ["t0"]}


# --- one by one, faster than they are answered ------------------------------------------------------
@pytest.fixture
def submit(client):
    """Submits, and is followed by others that come while it is unanswered."""
    started = []

    def submit(title, **options):
        started.append(asyncio.create_task(client.submit(title, **options)))
        return started[-1]

    yield submit
    for each in started:
        each.cancel()


@pytest.fixture
def kept_back(monkeypatch):
    """What is kept back goes when something was answered, and not before."""
    monkeypatch.setattr(submitting, "TOGETHER_S", 60)


def take_one(asked):
    return {"task_id": asked.data.get("id", asked.id), "status": "pending", "created": True}


def titles(asked):
    return [task["title"] for task in asked.data["tasks"]]


async def unanswered(fake, submit):
    """As many as are sent alone."""
    alone = [submit("alone", id=f"alone{n}") for n in range(submitting.UNDER_WAY_MAX)]
    await fake.heard("submit", len(alone))
    return alone


@pytest.mark.usefixtures("kept_back")
async def test_what_comes_while_others_are_unanswered_goes_together_once_one_is_answered(fake, submit):
    alone = await unanswered(fake, submit)
    together = [submit(f"t{n}", id=f"t{n}") for n in range(50)]
    fake.answers |= {"submit": take_one, "submit_batch": take_all}
    handles = await asyncio.gather(*alone, *together)
    assert [handle.id for handle in handles] == ["alone0", "alone1", *(f"t{n}" for n in range(50))]
    assert [titles(asked) for asked in fake.of("submit_batch")] == [[f"t{n}" for n in range(50)]]


async def test_where_nothing_is_answered_it_waits_for_a_moment_only(fake, submit):
    await unanswered(fake, submit)
    fake.answers["submit_batch"] = take_all
    assert (await submit("late", id="late")).id == "late"


async def test_few_at_a_time_are_sent_alone(fake, submit):
    fake.answers["submit"] = take_one
    for _ in range(5):
        await asyncio.gather(*(submit("x") for _ in range(submitting.UNDER_WAY_MAX)))
    assert len(fake.of("submit")) == 5 * submitting.UNDER_WAY_MAX
    assert not fake.of("submit_batch")


async def test_what_is_refused_is_refused_to_its_sender_alone(fake, submit):
    await unanswered(fake, submit)
    fake.answers["submit_batch"] = lambda asked: {
        "items": [
            {"index": 0, "task_id": "good", "created": False},
            {"index": 1, "error": "known with other content", "error_status": 409},
        ]
    }
    good, bad = submit("good", id="good"), submit("bad", id="bad")
    with pytest.raises(RefusedError, match="known with other content") as refused:
        await bad
    assert refused.value.status == 409
    assert ((await good).id, (await good).created) == ("good", False)


async def test_a_command_that_is_refused_is_refused_to_all_of_it(fake, submit):
    await unanswered(fake, submit)
    fake.answers["submit_batch"] = lambda asked: ErrorBody("not now", status=409)
    for refused in [submit("a"), submit("b")]:
        with pytest.raises(RefusedError, match="not now"):
            await refused


async def test_without_an_answer_all_are_told(fake, connection):
    client = Client(connection, timeout_s=0.2)
    many = await asyncio.gather(*(client.submit("x") for _ in range(10)), return_exceptions=True)
    assert [type(each) for each in many] == [NotReachable] * 10


@pytest.mark.usefixtures("kept_back")
async def test_what_nobody_waits_for_any_more_is_not_sent(fake, submit):
    alone = await unanswered(fake, submit)
    kept, left = submit("kept"), submit("left")
    await asyncio.sleep(0)
    left.cancel()
    fake.answers |= {"submit": take_one, "submit_batch": take_all}
    await asyncio.gather(*alone, kept)
    assert [titles(asked) for asked in fake.of("submit_batch")] == [["kept"]]


@pytest.mark.usefixtures("kept_back")
async def test_only_what_belongs_together_goes_together(fake, submit):
    alone = await unanswered(fake, submit)
    told = []
    for correlation, title in (("one", "a"), ("one", "b"), ("two", "c"), ("one", "d")):
        with correlated(correlation):
            told.append(submit(title))
    fake.answers |= {"submit": take_one, "submit_batch": take_all}
    await asyncio.gather(*alone, *told)
    together = [(titles(asked), asked.correlationid) for asked in fake.of("submit_batch")]
    assert together == [(["a", "b"], "one"), (["c"], "two"), (["d"], "one")]


async def test_what_is_too_large_for_a_command_is_refused_at_once(fake, submit):
    await unanswered(fake, submit)
    with pytest.raises(RefusedError, match="too large") as refused:
        await submit("x", payload="x" * limits.MESSAGE_BYTES_MAX)
    assert refused.value.status == 413


@pytest.mark.usefixtures("kept_back")
async def test_more_than_fits_into_one_command_goes_in_several(fake, submit):
    alone = await unanswered(fake, submit)
    large = [submit(f"t{n}", payload="x" * (limits.MESSAGE_BYTES_MAX // 3)) for n in range(5)]
    fake.answers |= {"submit": take_one, "submit_batch": take_all}
    await asyncio.gather(*alone, *large)
    assert [titles(asked) for asked in fake.of("submit_batch")] == [["t0", "t1"], ["t2", "t3"], ["t4"]]


# --- many -------------------------------------------------------------------------------------------
def take_all(asked):
    tasks = asked.data["tasks"]
    items = [{"index": i, "task_id": t.get("id") or t["idempotency_key"], "created": True} for i, t in enumerate(tasks)]
    return {"items": items}


async def test_each_task_of_many_gets_its_own_outcome(fake, client):
    fake.answers["submit_batch"] = lambda asked: {
        "items": [
            {"index": i, "error": "no"} if t["title"] == "bad" else {"index": i, "task_id": t["id"], "created": True}
            for i, t in enumerate(asked.data["tasks"])
        ]
    }
    good, bad, wrong, large, loop = await client.submit_many(
        [
            {"title": "good", "id": "good"},
            {"title": "bad"},
            {"titel": "wrong"},
            {"title": "large", "payload": "x" * limits.MESSAGE_BYTES_MAX},
            {"title": "loop", "id": "loop", "depends_on": ["loop"]},
        ]
    )
    assert good.id == "good"
    assert [type(error) for error in (bad, wrong, large, loop)] == [RefusedError, BadUsage, RefusedError, RefusedError]
    assert large.status == 413
    assert "depends on itself" in str(loop)


async def test_many_are_sent_in_order_of_their_dependencies_over_several_commands(fake, client):
    fake.answers["submit_batch"] = take_all
    first = {"title": "last", "depends_on": ["key 1999"]}
    outcomes = await client.submit_many([first, *({"title": f"t{n}", "key": f"key {n}"} for n in range(2_000))])
    assert [outcome for outcome in outcomes if isinstance(outcome, HivewireError)] == []
    sent = [task for asked in fake.of("submit_batch") for task in asked.data["tasks"]]
    assert [len(asked.data["tasks"]) for asked in fake.of("submit_batch")] == [1000, 1000, 1]
    assert sent[-1]["depends_on"] == [task_id_for_key("hive", "bob", "key 1999")]


async def test_when_the_broker_falls_silent_the_rest_is_not_tried(fake, client, monkeypatch):
    monkeypatch.setattr(limits, "BATCH_ITEMS_MAX", 1)
    asked = []

    async def silent(*_, **__):
        asked.append(1)
        raise NotReachable("no answer")

    monkeypatch.setattr(client.connection, "command", silent)
    outcomes = await client.submit_many([{"title": "a"}, {"title": "b"}])
    assert [type(outcome) for outcome in outcomes] == [NotReachable, NotReachable]
    assert len(asked) == 1


@given(st.lists(st.lists(st.integers(0, 12), max_size=4), max_size=12))
def test_order_puts_every_task_after_those_it_depends_on(graph):
    tasks = {n: f"t{n}" for n in range(len(graph))}
    order = batch.order(tasks, {n: [f"t{m}" for m in needed] for n, needed in enumerate(graph)})
    place = {index: n for n, index in enumerate(order.indexes)}
    assert place.keys() | order.refused.keys() == tasks.keys()
    for index in order.indexes:
        assert all(place[m] < place[index] for m in graph[index] if m in tasks)
    for index in order.refused:
        assert any(m in order.refused for m in graph[index])


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=50))
def test_chunks_keep_order_and_bounds(bodies):
    numbered = list(enumerate(bodies))
    chunks = list(batch.chunks(numbered, 2_000))
    assert [pair for chunk in chunks for pair in zip(chunk.indexes, chunk.bodies, strict=True)] == numbered
    assert all(sum(map(len, chunk.bodies)) + batch.CHUNK_OVERHEAD_BYTES <= 2_000 for chunk in chunks)


# --- results ----------------------------------------------------------------------------------------
def view(task_id, status="completed", **fields):
    return {
        "task_id": task_id,
        "status": status,
        **dict.fromkeys(("title", "sender", "owner"), "x"),
        **dict.fromkeys(("priority", "attempt", "retries_used", "lost_count", "max_retries"), 1),
        **dict.fromkeys(("timeout_seconds", "start_timeout_seconds"), 1.0),
        **dict.fromkeys(("created_at", "updated_at"), "2026-01-01T00:00:00Z"),
        **fields,
    }


@pytest.fixture
def table(fake):
    """The tasks that the fake knows; reads answer from it."""
    table = {}

    def tasks(asked):
        return {"items": [table[task_id] for task_id in asked.data["ids"] if task_id in table]}

    fake.answers["task"] = lambda asked: table[asked.data["task_id"]]
    fake.answers["tasks"] = tasks
    return table


async def test_a_result_is_read_when_an_event_calls(fake, client, table):
    table["t1"] = view("t1", "running")
    waiting = asyncio.create_task(client.result("t1"))
    await fake.heard("task")
    table["t1"] = view("t1", result={"n": 1})
    await fake.happen("task.completed", "t1", 1, {})
    assert await asyncio.wait_for(waiting, 3) == {"n": 1}


@pytest.mark.parametrize(
    ("ended", "error", "text"),
    [
        (view("t1", "failed", error="boom"), TaskFailed, "task t1 failed: boom"),
        (view("t1", "dead_lettered", reason="lost 3 times"), TaskFailed, "task t1 dead-lettered: lost 3 times"),
        (view("t1", "cancelled", reason="enough"), TaskCancelled, "task t1 was cancelled: enough"),
    ],
)
async def test_a_task_that_ended_without_success_raises(client, table, ended, error, text):
    table["t1"] = ended
    with pytest.raises(error, match=text):
        await client.result("t1")


async def test_waiting_has_a_bound(client, table):
    table["t1"] = view("t1", "pending")
    with pytest.raises(TimeoutError):
        await client.result("t1", timeout_s=0.05)


async def test_many_results_are_asked_for_together(fake, client, table):
    ids = [f"t{n}" for n in range(300)]
    table |= {task_id: view(task_id, "pending") for task_id in ids}
    waiting = [asyncio.create_task(client.ended(task_id)) for task_id in ids]
    await fake.heard("tasks", 2)
    table |= {task_id: view(task_id) for task_id in ids}
    for n, task_id in enumerate(ids):
        await fake.happen("task.completed", task_id, n + 1, {})
    ended = await asyncio.wait_for(asyncio.gather(*waiting), 20)
    assert [task.task_id for task in ended] == ids
    await client.close()


async def test_an_unknown_task_has_no_result(fake, client):
    fake.answers["task"] = lambda asked: ErrorBody("no task t1", status=404)
    with pytest.raises(RefusedError, match="no task t1"):
        await client.result("t1")


# --- finding the hive -------------------------------------------------------------------------------
async def test_a_context_of_the_nats_command_names_the_hive(server, fake, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "nats" / "context"
    folder.mkdir(parents=True)
    (folder / "work.json").write_text(json.dumps({"url": server.url, "creds": ""}))
    fake.answers["stats"] = lambda _: {"tasks": {}, "queue_depth": 3, "agents": {}}
    async with Client.connect(context="work") as hive:
        assert (await hive.stats()).queue_depth == 3
    with pytest.raises(BadUsage, match="no nats context 'home'"):
        async with Client.connect(context="home"):
            pass


async def test_the_name_of_a_client_is_its_sender(server, fake):
    fake.answers["cancel"] = lambda asked: {"task_id": asked.data["task_id"], "status": "cancelled"}
    async with Client.connect(context=Context(nats_url=server.url), name="carol") as hive:
        await hive.cancel("t1")
    assert fake.asked[0].sender == "carol"
