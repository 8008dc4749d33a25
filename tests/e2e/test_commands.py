"""The command line against a running hive: what it prints, in both forms, and what it ends with."""

import json
import subprocess

import msgspec
import pytest

from e2e.up import HIVEWIRE, Up, eventually
from hivewire.errors import RefusedError
from hivewire_service.supervisor import SERVICES

ECHO = """printf '{"seen": "%s"}' "$HIVEWIRE_TASK_ID" """


def test_a_submitted_task_is_done_and_its_result_printed(up: Up, skill, exec_agent):
    exec_agent(up, f"{skill}-a", skill, ECHO)
    done = up.run("submit", "say who you are", "--needs", skill, "--wait")
    (task,) = [task for task in up.json("tasks") if task["title"] == "say who you are"]
    assert json.loads(done.stdout) == {"seen": task["task_id"]}


def test_the_same_key_is_the_same_task(up: Up, skill):
    first = up.json("submit", "once", "--needs", skill, "--key", f"key-{skill}")
    again = up.json("submit", "once", "--needs", skill, "--key", f"key-{skill}")
    assert again["task_id"] == first["task_id"]
    assert up.error("submit", "twice", "--needs", skill, "--key", f"key-{skill}", exits=4)


def test_a_task_waits_for_those_it_comes_after(up: Up, skill, exec_agent):
    first = up.submit("first", "--needs", skill, "--key", f"first-{skill}")
    second = up.submit("second", "--needs", skill, "--after", first)
    third = up.submit("third", "--needs", skill, "--after", f"first-{skill}", "--after", second)
    assert up.json("why", third)["waits_for"] == f"task {first}"
    exec_agent(up, f"{skill}-a", skill, ECHO)
    eventually(lambda: up.task(third)["status"] == "completed")
    ended = [up.task(task_id)["ended_at"] for task_id in (first, second, third)]
    assert ended == sorted(ended)


def test_a_batch_takes_what_can_be_taken_and_names_the_rest(up: Up, skill, tmp_path):
    lines = [
        {"title": "last", "needs": [skill], "depends_on": ["a", "b"]},
        {"title": "a", "needs": [skill], "key": "a"},
        {"needs": [skill]},
        "no task",
        {"title": "b", "needs": [skill], "key": "b", "depends_on": ["a"]},
        {"title": "self", "key": "self", "depends_on": ["self"]},
    ]
    file = tmp_path / "tasks.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines) + "\nno json\n")
    errors = up.run("submit", "--batch", str(file), exits=1).stderr
    for number in (3, 4, 6, 7):
        assert f"line {number}" in errors
    taken = {task["title"]: task for task in up.json("tasks") if skill in task["required_capabilities"]}
    assert set(taken) == {"last", "a", "b"}
    assert set(taken["last"]["depends_on"]) == {taken["a"]["task_id"], taken["b"]["task_id"]}


def test_a_payload_is_taken_from_a_file_or_from_stdin(up: Up, skill, tmp_path):
    payload = {"text": "ünïcode \\u0000", "numbers": [1, 2.5, 1e300]}
    file = tmp_path / "payload.json"
    file.write_text(json.dumps(payload))
    from_file = up.submit("file", "--needs", skill, "--payload", f"@{file}")
    from_stdin = up.run("submit", "stdin", "--needs", skill, "--payload", "-", "--json", stdin=json.dumps(payload))
    for task_id in (from_file, json.loads(from_stdin.stdout)["task_id"]):
        assert up.task(task_id)["payload"] == payload


def test_listings_take_filters(up: Up, skill, exec_agent):
    done = up.submit("done", "--needs", skill)
    exec_agent(up, f"{skill}-a", skill, ECHO)
    eventually(lambda: up.task(done)["status"] == "completed")
    pending = up.submit("pending", "--needs", f"{skill}-other", "--priority", "high")
    ids = {
        status: {task["task_id"] for task in up.json("tasks", "--status", status)}
        for status in ("completed", "pending")
    }
    assert done in ids["completed"] - ids["pending"]
    assert pending in ids["pending"] - ids["completed"]
    assert up.json("tasks", "--owner", "nobody") == []
    assert up.task(pending)["priority"] == 8


def test_a_task_is_shown_with_its_attempts(up: Up, skill, exec_agent):
    exec_agent(up, f"{skill}-a", skill, ECHO)
    task_id = up.submit("shown", "--needs", skill)
    eventually(lambda: up.task(task_id)["status"] == "completed")
    task = up.task(task_id)
    (attempt,) = task["attempts"]
    assert (task["title"], task["result"]) == ("shown", {"seen": task_id})
    assert (attempt["attempt"], attempt["agent_id"], attempt["status"]) == (1, f"{skill}-a", "completed")
    shown = up.run("task", task_id).stdout
    assert task_id in shown
    assert f"{skill}-a" in shown


def test_watching_a_task_tells_its_story_from_the_beginning_and_ends_with_it(up: Up, skill, exec_agent, start):
    task_id = up.submit("watched", "--needs", skill)
    watching = start(up, "watch", task_id, "--json")
    exec_agent(up, f"{skill}-a", skill, ECHO)
    output, _ = watching.communicate(timeout=30)
    events = [json.loads(line) for line in output.splitlines()]
    types = [event["type"] for event in events]
    assert types[:2] == ["task.created", "task.queued"]
    assert types[-3:] == ["task.assigned", "task.started", "task.completed"]
    assert {event["entity_id"] for event in events} == {task_id}
    assert watching.returncode == 0


def test_the_queue_shows_what_waits(up: Up, skill):
    low = up.submit("low", "--needs", skill, "--priority", "0")
    high = up.submit("high", "--needs", skill, "--priority", "10")
    queue = up.json("queue")
    order = [task["task_id"] for task in queue["items"]]
    assert order.index(high) < order.index(low)
    assert queue["queued"] + queue["ready"] + queue["blocked"] >= 2
    assert high in up.run("queue").stdout


def test_who_waits_is_told_why(up: Up, skill, exec_agent):
    exec_agent(up, f"{skill}-a", "other", ECHO)
    task = up.submit("nobody can", "--needs", skill)
    with up.spawn([*HIVEWIRE, "watch", task], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
        told = waiting.stderr.readline()
        up.run("cancel", task)
        assert waiting.wait() == 1
    assert told.startswith(f"{task} waits: ")
    assert skill in told


def test_why_names_what_is_missing(up: Up, skill, exec_agent):
    exec_agent(up, f"{skill}-a", f"{skill}-other", ECHO)
    task_id = up.submit("impossible", "--needs", skill)
    why = up.json("why", task_id)
    assert (why["task_id"], why["status"]) == (task_id, "pending")
    assert skill in why["sentence"]
    assert skill in up.run("why", task_id).stdout


def test_the_choice_of_an_agent_is_explained(up: Up, skill, exec_agent):
    exec_agent(up, f"{skill}-a", skill, ECHO)
    exec_agent(up, f"{skill}-b", skill, ECHO)
    task_id = up.submit("choose", "--needs", skill)
    eventually(lambda: up.task(task_id)["status"] == "completed")
    explanation = up.json("explain", task_id)
    scored = {candidate["agent_id"] for candidate in explanation["candidates"] if candidate.get("score") is not None}
    assert scored == {f"{skill}-a", f"{skill}-b"}
    assert explanation["agent_id"] in scored
    assert explanation["agent_id"] in up.run("explain", task_id).stdout


def test_a_cancelled_task_is_over(up: Up, skill):
    task_id = up.submit("unwanted", "--needs", skill)
    up.run("cancel", task_id, "--reason", "changed my mind")
    task = up.task(task_id)
    assert (task["status"], task["reason"]) == ("cancelled", "changed my mind")
    up.run("retry", task_id)
    assert up.task(task_id)["status"] == "pending"


def test_what_failed_too_often_is_a_dead_letter_until_it_is_replayed(up: Up, skill, exec_agent, tmp_path):
    mended = tmp_path / "mended"
    exec_agent(up, f"{skill}-a", skill, f"test -e {mended} || {{ echo 'not yet' >&2; exit 7; }}; echo fine")
    up.run("submit", "hopeless", "--needs", skill, "--retries", "1", "--wait", exits=1)
    (dead,) = [task for task in up.json("dead") if task["title"] == "hopeless"]
    task_id = dead["task_id"]
    assert (dead["status"], dead["attempt"]) == ("dead_lettered", 2)
    assert "not yet" in dead["error"]
    assert [kind for kind in up.history(task_id) if kind in ("retry", "dead_lettered", "failed")] == [
        "retry",
        "dead_lettered",
    ]
    mended.touch()
    up.run("dead", "replay", task_id)
    eventually(lambda: up.task(task_id)["status"] == "completed")
    assert (up.task(task_id)["result"], up.task(task_id)["attempt"]) == ("fine\n", 3)
    assert task_id not in {task["task_id"] for task in up.json("dead")}


def test_dependents_of_a_failed_task_are_blocked_until_it_is_retried(up: Up, skill, exec_agent, tmp_path):
    mended = tmp_path / "mended"
    exec_agent(up, f"{skill}-a", skill, f"test -e {mended} || exit 100; echo fine")
    first = up.submit("first", "--needs", skill)
    second = up.submit("second", "--needs", skill, "--after", first)
    eventually(lambda: up.task(second)["status"] == "blocked")
    assert up.task(first)["status"] == "failed"
    assert up.task(second)["blocked_by"] == first
    mended.touch()
    up.run("retry", first)
    eventually(lambda: up.task(second)["status"] == "completed")


def test_history_is_listed_and_filtered(up: Up, skill):
    task_id = up.submit("remembered", "--needs", skill)
    events = up.json("events", "--entity", task_id)
    assert [event["type"] for event in events][:2] == ["task.created", "task.queued"]
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    assert {"id", "type", "time", "writer", "entity_id", "data"} <= events[0].keys()
    created = up.json("events", "--type", "task.created", "--entity", task_id)
    assert [event["data"]["title"] for event in created] == ["remembered"]


def test_events_are_followed_as_they_happen(up: Up, skill, start):
    following = start(up, "events", "--follow", "--json", "--type", "task.cancelled")
    seen = None
    while seen is None:  # what was cancelled before the follower listened is not followed
        task_id = up.submit("followed", "--needs", skill)
        up.run("cancel", task_id)
        seen = _line_within(following, 1)
    assert json.loads(seen)["type"] == "task.cancelled"


def _line_within(process, seconds: float) -> str | None:
    import select

    readable, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if readable else None


async def test_what_could_not_be_taken_is_kept_whole(up: Up, skill):
    async with up.client() as client:
        with pytest.raises(RefusedError, match="unknown command"):
            await client.connection.command("broker", "conquer", {"what": skill}, msgspec.Raw)
    newest, *_ = up.json("rejects")
    assert (newest["reason"], newest["service"]) == ("unknown command 'conquer'", "broker")
    assert json.loads(newest["body"])["data"] == {"what": skill}
    assert up.json("rejects", str(newest["reject_id"])) == newest


def test_the_fleet_is_listed_and_an_agent_drained(up: Up, skill, exec_agent):
    exec_agent(up, f"{skill}-a", skill, ECHO, slots=3)
    (agent,) = [agent for agent in up.json("agents") if agent["agent_id"] == f"{skill}-a"]
    assert (agent["state"], agent["slots"], agent["capabilities"], agent["drained"]) == ("present", 3, [skill], False)
    up.run("agent", "drain", f"{skill}-a")
    task_id = up.submit("later", "--needs", skill)
    assert up.json("agent", "show", f"{skill}-a")["drained"]
    assert "drain" in up.json("why", task_id)["sentence"]
    up.run("agent", "undrain", f"{skill}-a")
    eventually(lambda: up.task(task_id)["status"] == "completed")


def test_an_agent_that_left_is_away_and_can_be_removed(up: Up, skill, exec_agent):
    process = exec_agent(up, f"{skill}-a", skill, ECHO)
    process.terminate()
    assert process.wait(20) == 0
    assert up.json("agent", "show", f"{skill}-a")["state"] == "away"
    up.run("agent", "remove", f"{skill}-a")
    assert f"{skill}-a" not in {agent["agent_id"] for agent in up.json("agents")}
    assert up.error("agent", "show", f"{skill}-a", exits=4)


def test_a_token_makes_its_bearer_an_agent_and_no_more(up: Up, skill, tmp_path):
    file = tmp_path / "bearer.creds"
    file.write_text(up.run("token", "create", f"{skill}-bearer", "--role", "agent").stdout)
    url = up.addresses[1]
    refused = up.error("cancel", "some-task", "--nats-url", url, "--creds", str(file), exits=4)
    assert "role" in refused


def test_counts(up: Up, skill):
    up.submit("counted", "--needs", skill)
    stats = up.json("stats")
    assert stats["tasks"]["pending"] >= 1
    assert {"tasks", "queue_depth", "agents"} <= stats.keys()
    assert "pending" in up.run("stats").stdout


def test_the_doctor_finds_a_healthy_hive(up: Up):
    found = up.json("doctor")
    assert found["well"]
    assert found["pids"] == {name: up.service(name).pid for name in (*SERVICES, "nats-server", "postgres")}
    assert [service["says"] for service in found["services"].values()] == ["ready, owner"] * len(SERVICES)
    told = up.run("doctor").stdout
    for part in (
        "clock",
        "schema",
        "owner of broker",
        "lag of conversation",
        "stream HIVE_EVENTS",
        "disk",
        "all is well",
    ):
        assert part in told


def test_the_version_is_told(up: Up):
    from importlib.metadata import version

    assert version("hivewire") in up.run("version").stdout


@pytest.mark.parametrize(
    ("arguments", "exits"),
    [
        (("task", "no-such-task"), 4),
        (("task", "a.b"), 2),
        (("why", "no-such-task"), 4),
        (("explain", "no-such-task"), 4),
        (("cancel", "no-such-task"), 4),
        (("retry", "no-such-task"), 4),
        (("watch", "no-such-task"), 4),
        (("dead", "replay", "no-such-task"), 4),
        (("rejects", "123456789"), 4),
        (("agent", "show", "no-such-agent"), 4),
        (("submit", ""), 2),
        (("submit", "t", "--priority", "11"), 2),
        (("submit", "t", "--payload", "{"), 2),
        (("submit", "t", "--payload", "@/no/such/file"), 2),
        (("submit", "t", "--after", "no-such-task"), 4),
        (("submit", "--batch", "/no/such/file"), 2),
        (("submit", "t", "--timeout", "-1"), 2),
        (("tasks", "--status", "confused"), 4),
        (("token", "create", "a.b", "--role", "agent"), 2),
        (("token", "create", "service", "--role", "agent"), 4),
        (("agent", "exec", "--id", "a.b", "--can", "x", "--", "true"), 2),
        (("agent", "exec", "--id", "a", "--can", "x", "--", "no-such-program"), 2),
        (("agent", "run", "no_such_module:agent"), 2),
        (("tasks", "--nats-url", "nats://127.0.0.1:9"), 3),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(up: Up, arguments, exits):
    assert up.error(*arguments, exits=exits)


def test_without_a_hive_every_command_says_so(own_up: Up):
    line = own_up.error("tasks", exits=3)
    assert "hivewire up" in line


def test_an_event_of_another_service_is_published_and_listed(up: Up, skill):
    data = json.dumps({"task_id": skill, "conflicting_files": ["a.py"]})
    published = up.json("events", "publish", "merge.conflicted", "--data", data, "--id", f"e-{skill}")
    assert published["recorded"]
    assert not up.json("events", "publish", "merge.conflicted", "--data", data, "--id", f"e-{skill}")["recorded"]
    (event,) = up.json("events", "--type", "merge.conflicted", "--entity", skill)
    assert event["data"]["conflicting_files"] == ["a.py"]
    assert "told by the hive's services alone" in up.error("events", "publish", "task.completed", exits=4)


def test_the_queue_and_a_task_are_shown_as_they_were(up: Up, skill):
    task = up.submit("for later", "--needs", skill)
    then = up.task(task)["updated_at"]
    up.run("cancel", task)
    assert up.task(task)["status"] == "cancelled"
    assert up.json("task", task, "--as-of", then)["status"] == "pending"
    waited = up.json("queue", "--as-of", then)["items"]
    assert task in {item["task_id"] for item in waited}
    assert task not in {item["task_id"] for item in up.json("queue")["items"]}
    assert "history begins at" in up.error("queue", "--as-of", "2020-01-01T00:00:00Z", exits=4)
