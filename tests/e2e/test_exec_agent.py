"""Any command as an agent."""

import os

import psutil

from e2e.up import Up, eventually


def test_a_command_gets_the_task_and_gives_the_result(up: Up, skill, exec_agent):
    script = """
    python3 -c 'import json, os, sys
task = json.load(sys.stdin)
print(json.dumps({"payload": task["payload"], "attempt": os.environ["HIVEWIRE_ATTEMPT"]}))'
    """
    exec_agent(up, f"{skill}-a", skill, script)
    task_id = up.submit("echo", "--needs", skill, "--payload", '{"n": [1, 2]}')
    eventually(lambda: up.task(task_id)["status"] == "completed")
    assert up.task(task_id)["result"] == {"payload": {"n": [1, 2]}, "attempt": "1"}


def test_what_is_no_json_is_a_text(up: Up, skill, exec_agent):
    exec_agent(up, f"{skill}-a", skill, "echo done, more or less")
    assert up.run("submit", "t", "--needs", skill, "--wait").stdout.strip() == "done, more or less"


def test_exit_status_100_fails_for_good(up: Up, skill, exec_agent):
    exec_agent(up, f"{skill}-a", skill, "echo 'this can never work' >&2; exit 100")
    failed = up.run("submit", "t", "--needs", skill, "--wait", exits=1)
    assert "this can never work" in failed.stderr
    (task,) = [task for task in up.json("dead") if skill in task["required_capabilities"]]
    assert (task["status"], task["attempt"]) == ("failed", 1)
    assert up.history(task["task_id"])[-1] == "failed"


def test_any_other_exit_status_fails_with_another_attempt(up: Up, skill, exec_agent):
    exec_agent(
        up, f"{skill}-a", skill, 'test "$HIVEWIRE_ATTEMPT" = 2 || { echo "not at first" >&2; exit 1; }; echo yes'
    )
    task_id = up.submit("t", "--needs", skill)
    eventually(lambda: up.task(task_id)["status"] == "completed")
    first, second = up.task(task_id)["attempts"]
    assert (first["status"], second["status"]) == ("failed", "completed")
    assert "exit status 1: not at first" in first["error"]


def test_progress_is_seen_while_it_works(up: Up, skill, exec_agent, tmp_path):
    go_on = tmp_path / "go-on"
    exec_agent(up, f"{skill}-a", skill, f"echo '::progress 0.4 reading' >&2; until [ -e {go_on} ]; do sleep 0.1; done")
    task_id = up.submit("t", "--needs", skill)
    eventually(lambda: up.task(task_id)["progress"] == 0.4)
    task = up.task(task_id)
    assert (task["status"], task["progress_message"]) == ("running", "reading")
    go_on.touch()
    eventually(lambda: up.task(task_id)["status"] == "completed")


def test_a_cancelled_task_ends_its_command_and_all_that_it_started(up: Up, skill, exec_agent, tmp_path):
    pids = tmp_path / "pids"
    agent = exec_agent(up, f"{skill}-a", skill, f"sleep 600 & echo $$ $! > {pids}.part; mv {pids}.part {pids}; wait")
    task_id = up.submit("t", "--needs", skill)
    eventually(pids.exists)
    running = [int(pid) for pid in pids.read_text().split()]
    assert all(psutil.pid_exists(pid) for pid in running)
    up.run("cancel", task_id)
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in running))
    assert up.history(task_id)[-1] == "cancelled"
    assert agent.poll() is None
    assert psutil.Process(agent.pid).children() == []


def test_a_command_that_runs_too_long_is_ended(up: Up, skill, exec_agent, tmp_path):
    pid_file = tmp_path / "pid"
    exec_agent(up, f"{skill}-a", skill, f"echo $$ > {pid_file}; exec sleep 600")
    task_id = up.submit("t", "--needs", skill, "--timeout", "1", "--retries", "0")
    eventually(lambda: up.task(task_id)["status"] == "dead_lettered")
    assert up.history(task_id)[-2:] == ["timeout", "dead_lettered"]
    pid = int(pid_file.read_text())
    eventually(lambda: not psutil.pid_exists(pid))


def test_an_agent_that_is_told_to_stop_finishes_what_it_holds(up: Up, skill, exec_agent, tmp_path):
    go_on = tmp_path / "go-on"
    agent = exec_agent(up, f"{skill}-a", skill, f"until [ -e {go_on} ]; do sleep 0.1; done; echo finished")
    task_id = up.submit("t", "--needs", skill)
    eventually(lambda: up.task(task_id)["status"] == "running")
    os.kill(agent.pid, 15)
    go_on.touch()
    assert agent.wait(20) == 0
    assert up.task(task_id)["result"] == "finished\n"
