"""Agents that are replaced, killed and paused, and what becomes of their tasks."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from e2e.up import Up, eventually

HERE = Path(__file__).parent


@pytest.fixture
def run_agent(up: Up, skill, monkeypatch, start):
    """Starts one of the agents in reviewers.py."""
    monkeypatch.setenv("SKILL", skill)
    monkeypatch.setenv("PYTHONPATH", str(HERE))

    def run_agent(name: str) -> "subprocess.Popen[str]":
        return start(up, "agent", "run", f"reviewers:{name}")

    return run_agent


def test_an_agent_of_the_sdk_works_on_tasks_and_their_dependents(up: Up, skill, run_agent):
    run_agent("agent")
    parts = [up.submit("part", "--needs", skill, "--payload", str(number)) for number in (1, 2)]
    after = [argument for part in parts for argument in ("--after", part)]
    whole = up.run("submit", "whole", "--needs", skill, "--payload", "10", *after, "--wait")
    assert whole.stdout.split() == ['{"sum":13}'] or '"sum": 13' in whole.stdout


def test_a_handler_that_gives_up_fails_the_task_for_good(up: Up, skill, run_agent):
    run_agent("agent")
    failed = up.run("submit", "this", "--needs", skill, "--needs", f"{skill}-strict", "--wait", exits=1)
    assert "this is out of the question" in failed.stderr
    (task,) = [task for task in up.json("dead") if skill in task["required_capabilities"]]
    assert (task["status"], task["attempt"]) == ("failed", 1)


def test_of_two_processes_with_one_id_the_older_stops_and_each_task_runs_once(up: Up, skill, exec_agent, tmp_path):
    runs = tmp_path / "runs"
    script = f"echo $HIVEWIRE_TASK_ID >> {runs}"
    older = exec_agent(up, f"{skill}-a", skill, script, slots=2)
    before = [up.submit("before", "--needs", skill) for _ in range(5)]
    eventually(lambda: {up.task(task_id)["status"] for task_id in before} == {"completed"})
    newer = exec_agent(up, f"{skill}-a", skill, script, slots=2)
    _, errors = older.communicate(timeout=30)
    assert older.returncode == 1
    assert "another process registered" in errors.splitlines()[-1]
    after = [up.submit("after", "--needs", skill) for _ in range(5)]
    eventually(lambda: {up.task(task_id)["status"] for task_id in after} == {"completed"})
    assert Counter(runs.read_text().split()) == Counter(before + after)
    assert newer.poll() is None


def test_a_replaced_process_gives_up_what_it_holds(up: Up, skill, exec_agent, tmp_path):
    starts = tmp_path / "starts"
    script = f"echo $HIVEWIRE_ATTEMPT >> {starts}; until [ $HIVEWIRE_ATTEMPT = 2 ]; do sleep 0.1; done; echo done"
    older = exec_agent(up, f"{skill}-a", skill, script)
    task_id = up.submit("t", "--needs", skill)
    eventually(lambda: up.task(task_id)["status"] == "running")
    exec_agent(up, f"{skill}-a", skill, script)
    assert older.wait(30) == 1
    eventually(lambda: up.task(task_id)["status"] == "completed")
    first, second = up.task(task_id)["attempts"]
    assert (first["status"], second["status"]) == ("lost", "completed")
    assert starts.read_text().split() == ["1", "2"]


def test_a_task_that_kills_its_agent_each_time_is_dead_lettered_and_the_fleet_lives(up: Up, skill, run_agent):
    run_agent("agent")
    deadly = up.submit("deadly", "--needs", f"{skill}-deadly", "--retries", "50")
    for _ in range(3):
        assert run_agent("killer").wait(30) == -signal.SIGKILL
    run_agent("killer")  # its registration tells that the one before is gone
    eventually(lambda: up.task(deadly)["status"] == "dead_lettered")
    task = up.task(deadly)
    assert [attempt["status"] for attempt in task["attempts"]] == ["lost"] * 3
    assert (task["lost_count"], task["retries_used"]) == (3, 0)
    assert "lost" in task["reason"]
    up.run("submit", "harmless", "--needs", skill, "--payload", "1", "--wait")


def test_a_paused_agent_is_lost_its_task_done_by_another_and_its_late_report_refused(
    up: Up, skill, exec_agent, tmp_path
):
    go_on = tmp_path / "go-on"
    script = f"until [ -e {go_on} ]; do sleep 0.1; done; echo $HIVEWIRE_ATTEMPT"
    paused = exec_agent(up, f"{skill}-a", skill, script)
    task_id = up.submit("t", "--needs", skill)
    eventually(lambda: up.task(task_id)["status"] == "running")
    os.kill(paused.pid, signal.SIGSTOP)
    try:
        go_on.touch()
        exec_agent(up, f"{skill}-b", skill, script)
        eventually(lambda: up.task(task_id)["status"] == "completed")
    finally:
        os.kill(paused.pid, signal.SIGCONT)
    eventually(lambda: up.json("agent", "show", f"{skill}-a")["state"] == "present")
    task = up.task(task_id)
    assert [(attempt["agent_id"], attempt["status"]) for attempt in task["attempts"]] == [
        (f"{skill}-a", "lost"),
        (f"{skill}-b", "completed"),
    ]
    assert task["result"] == 2
    assert up.history(task_id).count("completed") == 1


def test_a_program_submits_and_awaits_through_the_sdk(up: Up, skill, run_agent):
    run_agent("agent")
    program = f"""
import asyncio
from hivewire import Client

async def main():
    async with Client.connect() as hive:
        tasks = await hive.submit_many([{{"title": "part", "needs": [{skill!r}], "payload": n}} for n in range(50)])
        results = await asyncio.gather(*(task.result(timeout_s=60) for task in tasks))
        print(sum(result["sum"] for result in results))

asyncio.run(main())
"""
    done = up.spawn([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert done.communicate(timeout=60)[0].strip() == str(sum(range(50)))
