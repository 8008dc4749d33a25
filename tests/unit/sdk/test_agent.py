import asyncio
import threading
import time

import msgspec
import pytest

from hivewire import Agent, HivewireError, Permanent, RefusedError, inbox, limits
from hivewire.commands.agent_gateway import AgentBrief
from hivewire.context import Context
from hivewire.envelope import ErrorBody
from hivewire.errors import BadUsage


@pytest.fixture
def make(server, fake):
    """Agents of this hive; commands of theirs are answered."""
    fake.answers |= {
        "register": lambda asked: AgentBrief(asked.sender, "present", asked.data["instance"]),
        "leave": lambda asked: AgentBrief(asked.sender, "away"),
        **dict.fromkeys(("start", "complete", "fail", "progress"), lambda _: {}),
    }

    def make(**options):
        options.setdefault("grace_s", 0.05)
        return Agent("bob", context=Context(nats_url=server.url), **options)

    return make


async def give(fake, agent, task_id="t1", attempt=1, payload=None, **more):
    dispatch = inbox.TaskDispatch(
        task_id=task_id,
        attempt=attempt,
        instance=agent.instance,
        title="a task",
        payload=msgspec.Raw(msgspec.json.encode(payload)),
        **more,
    )
    await fake.tell("bob", "task", dispatch)


async def test_a_task_is_started_and_completed(fake, make):
    agent = make(can=["Python"], slots=3)

    @agent.task
    async def double(task, ctx):
        assert ctx.task is task
        return {"twice": task.payload * 2}

    async with agent:
        await give(fake, agent, payload=21)
        (done,) = await fake.heard("complete")
    assert done.data == {"task_id": "t1", "attempt": 1, "instance": agent.instance, "result": {"twice": 42}}
    assert [asked.verb for asked in fake.asked] == ["register", "start", "complete", "leave"]
    card = fake.of("register")[0].data
    assert (card["instance"], card["capabilities"], card["slots"]) == (agent.instance, ["python"], 3)


async def test_reports_of_the_same_moment_are_one_command(fake, make):
    agent = make(slots=3)
    agent.task(returns)
    async with agent:
        for number in range(3):
            await give(fake, agent, f"t{number}")
        await fake.heard("complete", 3)
    for start, complete in zip(fake.of("start"), fake.of("complete"), strict=True):
        assert (start.id, start.data["task_id"]) == (complete.id, complete.data["task_id"])


async def test_reports_that_are_refused_together_are_sent_one_by_one(fake, make):
    fake.answers["report_batch"] = lambda asked: (
        ErrorBody("one of them is no good", status=400) if len(asked.data["reports"]) > 1 else None
    )
    agent = make()
    agent.task(returns)
    async with agent:
        await give(fake, agent)
        (complete,) = await fake.heard("complete")
    assert [asked.verb for asked in fake.asked] == ["register", "start", "complete", "leave"]
    assert complete.id != fake.of("start")[0].id


async def returns(_, __):
    return "at once"


async def test_a_sync_handler_runs_in_a_thread_with_a_working_context(fake, make):
    agent = make()
    fake.answers["task"] = lambda asked: ErrorBody(f"no task {asked.data['task_id']}", status=404)

    @agent.task
    def work(task, ctx):
        assert threading.current_thread() is not threading.main_thread()
        ctx.progress(0.5, "half")
        with pytest.raises(RefusedError, match="no task other"):
            ctx.result_of("other")
        return task.title

    async with agent:
        await give(fake, agent)
        (done,) = await fake.heard("complete")
        (progress,) = await fake.heard("progress")
    assert done.data["result"] == "a task"
    assert (progress.data["progress"], progress.data["message"]) == (0.5, "half")


@pytest.mark.parametrize(
    ("raised", "retry", "text"),
    [
        (Permanent("no such file"), False, "no such file"),
        (ValueError("bad"), True, "ValueError: bad"),
        (SystemExit(3), True, "SystemExit: 3"),
        (ValueError("\ud800\0"), True, "ValueError: ?\ufffd"),
        (ValueError("x" * 10_000), True, "ValueError: xxx"),
    ],
)
async def test_a_raised_exception_fails_the_attempt(fake, make, raised, retry, text):
    agent = make()

    @agent.task
    async def work(task, ctx):
        raise raised

    async with agent:
        await give(fake, agent)
        (failed,) = await fake.heard("fail")
    assert failed.data.get("retry", True) is retry
    assert failed.data["error"].startswith(text)
    assert len(failed.data["error"]) <= limits.ERROR_CHARS_MAX


@pytest.mark.parametrize(
    ("result", "text"),
    [(object(), "cannot be written as JSON"), ("x" * limits.MESSAGE_BYTES_MAX, "too large"), ("\ud800", "JSON")],
)
async def test_a_result_that_cannot_be_taken_fails_for_good(fake, make, result, text):
    agent = make()

    @agent.task
    async def work(task, ctx):
        return result

    async with agent:
        await give(fake, agent)
        (failed,) = await fake.heard("fail")
    assert failed.data["retry"] is False
    assert text in failed.data["error"]


async def test_the_most_specific_handler_is_called(fake, make):
    agent = make()

    @agent.task
    async def anything(task, ctx):
        return "anything"

    @agent.task(needs="Review")
    async def review(task, ctx):
        return "review"

    @agent.task(needs=["review", "python"])
    async def python(task, ctx):
        return "python"

    assert agent.capabilities == ["python", "review"]
    async with agent:
        await give(fake, agent, "a", required_capabilities=[])
        await give(fake, agent, "b", required_capabilities=["review", "rust"])
        await give(fake, agent, "c", required_capabilities=["review", "python"])
        done = await fake.heard("complete", 3)
    assert {asked.data["task_id"]: asked.data["result"] for asked in done} == {
        "a": "anything",
        "b": "review",
        "c": "python",
    }


async def test_without_a_fitting_handler_the_attempt_fails_with_the_reason(fake, make):
    agent = make(can=["x"])
    agent.task(needs="review")(lambda task, ctx: None)
    async with agent:
        await give(fake, agent, required_capabilities=["x"])
        (failed,) = await fake.heard("fail")
    assert failed.data["error"] == "agent 'bob' has no handler for a task that needs x"


def test_two_handlers_for_the_same_needs_are_bad_usage(make):
    agent = make()
    agent.task(lambda task, ctx: None)
    with pytest.raises(BadUsage, match="two task handlers without needs"):
        agent.task(lambda task, ctx: None)


async def test_slots_bound_what_runs_and_the_rest_waits(fake, make):
    agent = make(slots=2)
    running, most, go = set(), [], asyncio.Event()

    @agent.task
    async def work(task, ctx):
        running.add(task.id)
        most.append(len(running))
        await go.wait()
        running.discard(task.id)

    async with agent:
        for n in range(5):
            await give(fake, agent, f"t{n}")
        await fake.heard("start", 2)
        assert agent._session.workbench.free_slots == 0
        await fake.eventually(lambda: len(agent._session.workbench.held) == 5)
        go.set()
        await fake.heard("complete", 5)
    assert max(most) == 2


async def test_rehearsals_run_beside_the_work_and_are_reported_to_their_session(fake, make):
    agent, go = make(slots=1), asyncio.Event()

    @agent.task
    async def work(task, ctx):
        if task.rehearsed:
            await go.wait()
        return task.title

    async with agent:
        asked = {"session_id": "sim-d1-1-s", "attempt": 1, "agent_id": agent.id, "instance": agent.instance}
        await fake.tell(agent.id, "dispatch", {"message_id": "sim-d1-1-s.1", "content": "play", **asked})
        await fake.heard("progress")
        workbench = agent._session.workbench
        assert (workbench.sessions, workbench.held, workbench.free_slots) == (["sim-d1-1-s.1"], [], 1)
        await give(fake, agent)
        await fake.heard("complete")
        go.set()
        (said,) = await fake.heard("respond")
        assert (said.data["session_id"], said.data["content"]) == ("sim-d1-1-s", "play")


async def test_a_dispatch_that_is_held_or_ended_is_not_run_again(fake, make):
    agent, runs = make(), []

    @agent.task
    async def work(task, ctx):
        runs.append(task.id)
        return len(runs)

    async with agent:
        await give(fake, agent)
        await give(fake, agent)
        await fake.heard("complete")
        await fake.eventually(lambda: not agent._session.workbench.held)
        await give(fake, agent)
        again = await fake.heard("complete", 2)
    assert runs == ["t1"]
    assert again[0].data == again[1].data


async def test_a_dispatch_for_another_instance_is_ignored(fake, make):
    agent, stranger = make(), make()
    agent.task(lambda task, ctx: task.id)
    async with agent:
        await give(fake, stranger, "not-ours")
        await give(fake, agent, "ours")
        (done,) = await fake.heard("complete")
    assert done.data["task_id"] == "ours"


async def test_a_cancelled_attempt_stops_its_handler_and_reports_nothing(fake, make):
    agent, cancelled = make(), asyncio.Event()

    @agent.task
    async def work(task, ctx):
        if task.id == "t2":
            return
        try:
            await asyncio.Event().wait()
        finally:
            assert ctx.cancelled
            cancelled.set()

    async with agent:
        await give(fake, agent)
        await fake.heard("start")
        await fake.tell("bob", "cancel", inbox.CancelAttempt("t1", 1, agent.instance))
        await asyncio.wait_for(cancelled.wait(), 10)
        await give(fake, agent, "t2")
        (done,) = await fake.heard("complete")
    assert done.data["task_id"] == "t2"
    assert not fake.of("fail")


async def test_a_cancelled_thread_sees_it(fake, make):
    agent, seen = make(grace_s=10), threading.Event()

    @agent.task
    def work(task, ctx):
        while not ctx.cancelled:
            time.sleep(0.001)
        seen.set()

    async with agent:
        await give(fake, agent)
        await fake.heard("start")
        await fake.tell("bob", "cancel", inbox.CancelAttempt("t1", 1, agent.instance))
        await asyncio.to_thread(seen.wait, 10)
    assert seen.is_set()
    assert not fake.of("complete")


async def test_a_refused_start_stops_the_handler(fake, make):
    agent, cancelled = make(), asyncio.Event()
    fake.answers["start"] = lambda _: ErrorBody("attempt 2 is open", status=409)

    @agent.task
    async def work(task, ctx):
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with agent:
        await give(fake, agent)
        await asyncio.wait_for(cancelled.wait(), 10)
    assert not fake.of("fail")


async def test_a_report_is_repeated_until_replied_and_held_as_long(fake, make, monkeypatch):
    monkeypatch.setattr("hivewire.unanswered.SWEEP_S", 0.01)
    monkeypatch.setattr(limits, "REPEAT_FIRST_S", 0.01)
    agent = make()
    del fake.answers["complete"]
    agent.task(lambda task, ctx: 1)
    async with agent:
        await give(fake, agent)
        await fake.heard("complete", 3)
        assert agent._session.workbench.held == [inbox.Held("t1", 1)]
        fake.answers["complete"] = lambda _: {}
        await fake.eventually(lambda: not agent._session.workbench.held)
    assert len({asked.id for asked in fake.of("complete")}) == 1


async def test_a_result_that_the_broker_refuses_becomes_a_failure(fake, make):
    agent = make()
    fake.answers["complete"] = lambda _: ErrorBody("nested too deeply", status=400)
    agent.task(lambda task, ctx: 1)
    async with agent:
        await give(fake, agent)
        (failed,) = await fake.heard("fail")
    assert failed.data["error"] == "the result cannot be taken: nested too deeply"
    assert failed.data["retry"] is False


async def test_sync_makes_it_register_again(fake, make):
    agent = make()
    async with agent:
        await fake.tell("bob", "sync", inbox.Sync(agent.instance))
        await fake.heard("register", 2)


async def test_a_newer_process_stops_the_older(fake, make):
    agent, started = make(), asyncio.Event()

    @agent.task
    async def work(task, ctx):
        started.set()
        await asyncio.Event().wait()

    await agent.start()
    await give(fake, agent)
    await asyncio.wait_for(started.wait(), 10)
    await fake.tell("bob", "replaced", inbox.Replaced(agent.instance))
    await fake.tell("bob", "replaced", inbox.Replaced("other"))
    with pytest.raises(HivewireError, match="another process registered as 'bob'"):
        await asyncio.wait_for(agent.wait(), 10)
    assert not fake.of("leave")
    assert not fake.of("fail")


async def test_a_refused_registration_ends_the_start(fake, make):
    fake.answers["register"] = lambda _: ErrorBody("instance x is newer", status=409)
    with pytest.raises(RefusedError, match="newer"):
        await make().start()


async def test_beats_say_what_is_held(fake, make):
    agent = make(slots=4)

    @agent.task
    async def work(task, ctx):
        await asyncio.Event().wait()

    async with agent:
        await fake.until(lambda: bool(fake.beats))
    beat = fake.beats[0]
    assert (beat.agent_id, beat.instance, beat.free_slots) == ("bob", agent.instance, 4)


async def test_beats_say_when_the_connection_was_lost(fake, make):
    agent = make()
    async with agent:
        await fake.until(lambda: bool(fake.beats))
        assert not fake.beats[0].returned
        await agent._session._connection._nats.force_reconnect()
        await fake.until(lambda: len(fake.beats) > 1)
    assert fake.beats[1].returned


async def test_stopping_lets_handlers_end_within_the_grace(fake, make):
    agent, stopping = make(grace_s=10), asyncio.Event()

    @agent.task
    async def work(task, ctx):
        await stopping.wait()
        return "in time"

    await agent.start()
    await give(fake, agent)
    await fake.heard("start")
    ending = asyncio.create_task(agent.stop())
    stopping.set()
    await ending
    assert [asked.verb for asked in fake.asked][-2:] == ["complete", "leave"]


async def test_progress_is_thinned_out_and_the_last_one_wins(fake, make):
    agent = make()

    @agent.task
    async def work(task, ctx):
        for step in range(100):
            await ctx.progress(step / 100, f"step {step}")
        await fake.until(
            lambda: fake.of("progress")[-1:] != [] and fake.of("progress")[-1].data["message"] == "step 99"
        )

    async with agent:
        await give(fake, agent)
        await fake.heard("complete")
    assert [asked.data["message"] for asked in fake.of("progress")] == ["step 0", "step 99"]


async def test_the_result_of_a_dependency(fake, make):
    agent = make()
    fake.answers["task"] = lambda asked: {
        **dict.fromkeys(("title", "sender", "owner"), "x"),
        **dict.fromkeys(("priority", "attempt", "retries_used", "lost_count", "max_retries"), 1),
        **dict.fromkeys(("timeout_seconds", "start_timeout_seconds"), 1.0),
        **dict.fromkeys(("created_at", "updated_at"), "2026-01-01T00:00:00Z"),
        "task_id": asked.data["task_id"],
        "status": "completed",
        "result": {"n": 5},
    }

    @agent.task
    async def work(task, ctx):
        return (await ctx.result_of(task.depends_on[0]))["n"]

    async with agent:
        await give(fake, agent, depends_on=["before"])
        (done,) = await fake.heard("complete")
    assert done.data["result"] == 5
