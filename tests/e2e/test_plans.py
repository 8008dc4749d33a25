"""Approval, dispatch by name, phases and explanations, over the real servers and from the command line."""

import json

import pytest

from e2e.up import Up, eventually

ECHO = """printf '{"seen": "%s"}' "$HIVEWIRE_TASK_ID" """


def status(up: Up, task_id: str) -> str:
    return up.task(task_id)["status"]


def test_rejected_work_is_done_again_until_it_is_approved(up: Up, skill, exec_agent):
    exec_agent(up, f"{skill}-a", skill, ECHO)
    task_id = up.submit("draft", "--needs", skill, "--approval")
    follower = up.submit("publish", "--needs", skill, "--after", task_id)
    eventually(lambda: status(up, task_id) == "pending_approval")
    assert up.json("why", task_id)["waits_for"] == "approval"
    up.run("reject", task_id, "--reason", "too short")
    eventually(lambda: len(up.task(task_id)["attempts"]) == 2 and status(up, task_id) == "pending_approval")
    assert (up.task(task_id)["feedback"], status(up, follower)) == ("too short", "pending")
    assert up.json("approve", task_id)["status"] == "completed"
    assert up.task(task_id)["result"] == {"seen": task_id}
    assert "only what is pending_approval" in up.error("approve", task_id, exits=4)
    eventually(lambda: status(up, follower) == "completed")
    assert up.history(task_id)[-2:] == ["approved", "completed"]


def test_a_checkpoint_waits_until_it_is_dispatched_by_name(up: Up, skill, exec_agent, tmp_path):
    exec_agent(up, f"{skill}-a", skill, ECHO)
    file = tmp_path / "tasks.jsonl"
    file.write_text(json.dumps({"title": "gate", "key": skill, "needs": [skill], "type": "checkpoint:human"}))
    up.run("submit", "--batch", str(file))
    (task_id,) = [task["task_id"] for task in up.json("tasks") if task["idempotency_key"] == skill]
    assert up.json("why", task_id)["waits_for"] == "dispatch by name"
    assert "no agent 'nobody'" in up.error("dispatch", task_id, "--to", "nobody", exits=4)
    assert up.json("dispatch", task_id, "--to", f"{skill}-a")["agent_id"] == f"{skill}-a"
    eventually(lambda: status(up, task_id) == "completed")


def test_a_blocked_task_waits_and_can_be_changed(up: Up, skill, exec_agent):
    task_id = up.submit("later", "--needs", skill)
    up.run("block", task_id, "--reason", "not yet")
    exec_agent(up, f"{skill}-a", skill, ECHO)
    up.run("update", task_id, "--priority", "9", "--label", "a=b")
    task = up.task(task_id)
    assert (task["status"], task["reason"], task["priority"], task["labels"]) == ("blocked", "not yet", 9, {"a": "b"})
    first = up.submit("before", "--needs", f"{skill}-none")
    up.run("update", task_id, "--after", first)
    assert "dependency cycle" in up.error("update", first, "--after", task_id, exits=4)
    up.run("update", task_id, "--after-none")
    up.run("unblock", task_id)
    eventually(lambda: status(up, task_id) == "completed")


def test_a_task_is_queued_before_its_phase(up: Up, skill, exec_agent):
    exec_agent(up, f"{skill}-a", skill, ECHO)
    up.run("phase", "create", "Later", "--id", skill)
    task_id = up.submit("early", "--needs", skill, "--phase", skill)
    assert up.json("why", task_id)["sentence"] == f"it waits for phase {skill} to start, which is not approved"
    up.run("enqueue", task_id)
    eventually(lambda: status(up, task_id) == "completed")
    assert "there is no phase" in up.error("submit", "x", "--phase", "nowhere", exits=4)


def test_phases_run_one_after_the_other(up: Up, skill, exec_agent):
    exec_agent(up, f"{skill}-a", skill, ECHO)
    launch, design, build = (f"{skill}-{name}" for name in ("launch", "design", "build"))
    up.run("initiative", "create", "Launch", "--id", launch, "--approval")
    up.run("phase", "create", "Design", "--id", design, "--initiative", launch)
    up.run("phase", "create", "Build", "--id", build, "--initiative", launch, "--after", design)
    first = up.submit("draw", "--needs", skill, "--phase", design)
    second = up.submit("make", "--needs", skill, "--phase", build)
    assert "not approved" in up.error("phase", "queue", design, exits=4)
    assert "dependency cycle" in up.error("phase", "update", design, "--after", build, exits=4)
    assert "no phase 'nowhere'" in up.error("submit", "x", "--phase", "nowhere", exits=4)
    up.run("initiative", "approve", launch)
    assert up.json("phase", "next", "--initiative", launch)["phase_id"] == design
    up.run("initiative", "queue", launch)
    eventually(lambda: status(up, first) == "pending_approval")
    state = up.json("phase", "state", "--initiative", launch)
    assert ([phase["phase_id"] for phase in state["queued"]], state["ready"]) == ([build], [])
    up.run("approve", first)
    eventually(lambda: status(up, second) == "pending_approval")
    up.run("reject", second, "--final", "--reason", "no")
    eventually(lambda: up.json("phase", "show", build)["status"] == "blocked")
    assert up.json("phase", "show", build)["blocked_by"] == second
    up.run("dead", "replay", second)
    eventually(lambda: status(up, second) == "pending_approval")
    up.run("approve", second)
    graph = up.json("initiative", "show", launch)["phases"]
    assert [(phase["phase_id"], phase["status"], phase["depends_on"]) for phase in graph] == [
        (design, "completed", []),
        (build, "completed", [design]),
    ]
    assert up.json("initiative", "complete", launch)["status"] == "completed"
    kinds = [event["type"] for event in up.json("events", "--entity", build)]
    assert kinds == [f"phase.{kind}" for kind in KINDS]


KINDS = ("created", "approved", "queued", "started", "blocked", "resumed", "completed")


def test_a_choice_is_explained_and_taken_again_with_other_weights(up: Up, skill, exec_agent, tmp_path):
    for name in "ab":
        exec_agent(up, f"{skill}-{name}", skill, ECHO)
    task_id = up.submit("weighed", "--needs", skill)
    eventually(lambda: status(up, task_id) == "completed")
    found = up.json("explain", task_id)
    assert len(found["candidates"]) == 2
    names = list(found["shifts"])
    even, crooked = tmp_path / "even.json", tmp_path / "crooked.json"
    even.write_text(json.dumps(dict.fromkeys(names, 1 / len(names))))
    crooked.write_text(json.dumps(dict.fromkeys(names, 1)))
    assert up.json("explain", task_id, "--weights", str(even))["winner"] == found["agent_id"]
    assert up.json("whatif", "--weights", str(even), "--since", "1h")["decisions"] >= 1
    for command in (["explain", task_id], ["whatif"]):
        assert "sum to 1" in up.error(*command, "--weights", str(crooked), exits=4)


@pytest.mark.parametrize("options", [["--all", "--error", "{skill}"], ["--owner", "{skill}"]])
def test_dead_letters_are_replayed_by_filter(up: Up, skill, exec_agent, options, tmp_path):
    flag = tmp_path / "fixed"
    exec_agent(up, f"{skill}-a", skill, f"test -e {flag} || {{ echo {skill} >&2; exit 100; }}; echo 1")
    ids = [up.submit("broken", "--needs", skill, "--owner", skill) for _ in range(2)]
    eventually(lambda: all(status(up, task_id) == "failed" for task_id in ids))
    flag.touch()
    replay = up.json("dead", "replay", *(option.format(skill=skill) for option in options), "--rate", "20")
    assert (replay["status"], replay["replayed"], replay["refused"], replay["remaining"]) == ("completed", 2, 0, 0)
    assert replay["replay_id"] in {one["replay_id"] for one in up.json("dead", "replays")}
    assert "there is nothing to stop" in up.error("dead", "stop", replay["replay_id"], exits=4)
    eventually(lambda: all(status(up, task_id) == "completed" for task_id in ids))
