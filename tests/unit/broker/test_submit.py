"""Taking tasks: normal form, repeats, dependencies, and what is refused."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from hivewire.ids import task_id_for_key
from hivewire_service.core import Refusal


def test_a_task_is_created_and_queued(hive):
    reply = hive.submit("t1", required_capabilities=[" Python ", "python", "Review"], priority="high")
    assert (reply.task_id, reply.status, reply.created) == ("t1", "pending", True)
    created = hive.events[0]
    assert created.required_capabilities == ["python", "review"]
    assert (created.priority, created.owner, created.sender) == (8, "boss", "boss")
    assert hive.types("t1")[:2] == ["created", "queued"]


def test_the_id_follows_from_the_key_or_from_the_command(hive):
    of_key = hive.submit(idempotency_key="build 7")
    assert of_key.task_id == task_id_for_key("hive", "boss", "build 7")
    assert hive.submit(idempotency_key="build 7", sender="kim").task_id != of_key.task_id
    assert hive.submit().task_id == "command-3"


def test_ids_of_keys_do_not_collide_between_senders():
    assert task_id_for_key("hive", "a/b", "c") != task_id_for_key("hive", "a", "b/c")


def test_id_and_key_together_must_name_the_same_task(hive):
    assert hive.submit("mine", idempotency_key="k").status == 400
    same = task_id_for_key("hive", "boss", "k")
    assert hive.submit(same, idempotency_key="k").task_id == same


def test_a_repeat_is_recognised_and_changes_nothing(hive):
    fields = {"payload": msgspec.Raw(b'{"n": 1}'), "labels": {"team": "a"}, "required_capabilities": ["x"]}
    hive.submit("t1", **fields)
    before = len(hive.events)
    again = hive.submit("t1", **fields | {"required_capabilities": ["X "]})
    assert (again.created, len(hive.events)) == (False, before)
    assert hive.submit("t1", **fields | {"payload": msgspec.Raw(b'{"n": 2}')}).status == 409


def test_a_repeat_is_recognised_after_the_task_has_ended(hive):
    hive.spawn("ann")
    hive.submit("t1")
    hive.complete("t1")
    assert (hive.submit("t1").created, hive.submit("t1").status) == (False, "completed")


@pytest.mark.parametrize(
    ("fields", "status", "what"),
    [
        ({"depends_on": ["nowhere"]}, 422, "'nowhere'"),
        ({"depends_on": ["t1"]}, 422, "itself"),
        ({"idempotency_key": "k", "id": None, "depends_on": ["k"]}, 422, "itself"),
        ({"phase_id": "p"}, 422, "there is no phase 'p'"),
        ({"max_concurrent": 2}, 400, "needs a concurrency_key"),
        ({"required_capabilities": [" "]}, 400, "blank"),
        ({"deadline": datetime.fromisoformat("9999-12-31T23:00:00-10:00")}, 400, "deadline"),
        ({"not_before": datetime.fromisoformat("0001-01-01T01:00:00+10:00")}, 400, "not_before"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(hive, fields, status, what):
    refusal = hive.submit(**{"task_id": "t1"} | {("task_id" if k == "id" else k): v for k, v in fields.items()})
    assert isinstance(refusal, Refusal)
    assert (refusal.status, hive.events) == (status, [])
    assert what in refusal.error


def test_a_command_id_that_is_no_token_cannot_name_a_task(hive):
    hive._commands = 0
    from hivewire.commands.broker import Submit

    refusal = hive.send("submit", Submit(title="x"), command_id="not a token")
    assert refusal.status == 400


def test_a_dependency_can_be_named_by_its_key(hive):
    first = hive.submit(idempotency_key="first")
    hive.submit("t2", depends_on=["first"])
    assert hive.task("t2").depends_on == (first.task_id,)


def test_a_dependency_that_ended_badly_blocks_or_cancels_at_once(hive):
    hive.submit("dead")
    hive.cancel("dead")
    assert hive.submit("t1", depends_on=["dead"]).status == "blocked"
    assert hive.task("t1").blocked_by == "dead"
    assert hive.submit("t2", depends_on=["dead"], on_dependency_failure="cancel").status == "cancelled"
    assert hive.types("t2") == ["created", "queued", "cancelled"]


def test_moments_are_kept_in_utc(hive):
    moment = datetime.fromisoformat("2026-03-01T12:00:00+02:00")
    hive.submit("t1", not_before=moment)
    assert hive.task("t1").not_before == moment
    assert hive.task("t1").not_before.tzinfo is UTC


# batches --------------------------------------------------------------------------------------------
def test_a_batch_takes_tasks_in_any_order_by_id_and_by_key(hive):
    reply = hive.submit_batch(
        {"id": "c", "depends_on": ["b", "a-key"]},
        {"id": "b", "depends_on": ["a-key"]},
        {"idempotency_key": "a-key"},
    )
    assert [item.created for item in reply.items] == [True] * 3
    a = reply.items[2].task_id
    assert hive.task("c").depends_on == ("b", a)
    assert hive.task("a" if a == "a" else a).ordinal < hive.task("b").ordinal < hive.task("c").ordinal


def test_independent_tasks_of_a_batch_keep_their_order(hive):
    hive.submit_batch(*({"id": f"t{n}"} for n in (5, 3, 9, 1)))
    assert min(hive.broker.state.tasks.values(), key=lambda task: task.ordinal).task_id == "t5"
    assert [task.task_id for task in hive.broker.state.tasks.values()] == ["t5", "t3", "t9", "t1"]


def test_a_bad_task_of_a_batch_is_named_and_the_rest_go_in(hive):
    reply = hive.submit_batch(
        {"id": "t1"},
        {"id": "t2", "title": ""},
        {"id": "t3", "priority": 99},
        {"id": "t4", "depends_on": ["t2"]},
        {"id": "t5", "depends_on": ["t5"]},
        {"id": "t6", "depends_on": ["t5"]},
        {"id": "t7", "depends_on": ["t6"]},
        {"id": "t8", "title": "nul \0"},
    )
    errors = [item.error for item in reply.items]
    assert errors[0] is None
    assert "$.title" in errors[1]
    assert "$.priority" in errors[2]
    assert "'t2'" in errors[3]
    assert "itself" in errors[4]
    assert "'t5'" in errors[5]
    assert "'t6'" in errors[6]
    assert "NUL" in errors[7]
    assert [item.error_status for item in reply.items] == [None, 400, 400, 422, 422, 422, 422, 400]
    assert list(hive.broker.state.tasks) == ["t1"]


def test_cycles_within_a_batch_are_refused_and_named(hive):
    reply = hive.submit_batch(
        {"id": "a", "depends_on": ["c"]},
        {"id": "b", "depends_on": ["a"]},
        {"id": "c", "depends_on": ["b"]},
        {"id": "after", "depends_on": ["a"]},
        {"id": "free"},
    )
    assert reply.items[0].error == "dependency cycle: a -> c -> b -> a"
    assert "cycle" in reply.items[3].error
    assert [item.task_id for item in reply.items] == [None, None, None, None, "free"]


def test_a_long_cycle_is_shown_in_part(hive):
    reply = hive.submit_batch(*({"id": f"t{n}", "depends_on": [f"t{(n + 1) % 50}"]} for n in range(50)))
    assert "..." in reply.items[0].error
    assert len(reply.items[0].error) < 120


def test_a_repeated_batch_changes_nothing(hive):
    tasks = [{"title": "a"}, {"title": "b", "idempotency_key": "k"}, {"title": "bad", "depends_on": ["nowhere"]}]
    first = hive.submit_batch(*tasks, command_id="c1")
    before = len(hive.events)
    second = hive.submit_batch(*tasks, command_id="c1")
    assert [item.task_id for item in first.items] == [item.task_id for item in second.items]
    assert [item.created for item in second.items] == [False, False, None]
    assert len(hive.events) == before


def test_twins_within_a_batch_are_one_task(hive):
    reply = hive.submit_batch({"id": "t"}, {"id": "t"}, {"id": "t", "title": "another"})
    assert [item.created for item in reply.items] == [True, False, None]
    assert "other content" in reply.items[2].error


def test_what_depends_on_a_task_cancelled_in_the_same_batch_shares_its_fate(hive):
    hive.submit("dead")
    hive.cancel("dead")
    reply = hive.submit_batch(
        {"id": "a", "depends_on": ["dead"], "on_dependency_failure": "cancel"},
        {"id": "b", "depends_on": ["a"], "on_dependency_failure": "cancel"},
        {"id": "c", "depends_on": ["b"]},
    )
    assert [item.status for item in reply.items] == ["cancelled", "cancelled", "blocked"]


def test_a_deadline_in_the_past_makes_a_dead_letter(hive):
    hive.submit("t1", deadline=hive.now - timedelta(seconds=1))
    assert hive.status("t1") == "dead_lettered"
