import os
import sys
from pathlib import Path

import msgspec
import pytest

from hivewire import BadUsage, inbox
from hivewire.commands.agent_gateway import AgentBrief
from hivewire.context import Context
from hivewire.exec_agent import Tail, exec_agent, parsed


@pytest.fixture
def run(server, fake):
    """Give one task to an agent that runs a Python script, and return what it reported."""
    fake.answers |= {
        "register": lambda asked: AgentBrief(asked.sender, "present"),
        "leave": lambda asked: AgentBrief(asked.sender, "away"),
        **dict.fromkeys(("start", "complete", "fail", "progress"), lambda _: {}),
    }

    async def run(script, *, payload=None):
        agent = exec_agent("bob", [sys.executable, "-c", script], can=["x"], context=Context(nats_url=server.url))
        async with agent:
            await give(fake, agent, payload)
            await fake.until(lambda: bool(fake.of("complete") or fake.of("fail")))
        return (fake.of("complete") or fake.of("fail"))[0]

    return run


async def give(fake, agent, payload=None):
    dispatch = inbox.TaskDispatch(
        task_id="t1", attempt=2, instance=agent.instance, title="x", payload=msgspec.Raw(msgspec.json.encode(payload))
    )
    await fake.tell("bob", "task", dispatch)


async def test_the_command_gets_the_task_and_its_output_is_the_result(run):
    script = """
import json, os, sys
task = json.load(sys.stdin)
print(json.dumps([task["payload"], os.environ["HIVEWIRE_TASK_ID"], os.environ["HIVEWIRE_ATTEMPT"]]))
"""
    asked = await run(script, payload={"n": 1})
    assert asked.data["result"] == [{"n": 1}, "t1", "2"]


async def test_output_that_is_no_json_is_a_text(run):
    assert (await run("print('hello, world')")).data["result"] == "hello, world\n"


async def test_no_output_is_null(run):
    assert (await run("pass")).data.get("result") is None


async def test_a_failing_command_fails_the_attempt_with_the_tail_of_stderr(run):
    asked = await run("import sys; print('what happened', file=sys.stderr); sys.exit(3)")
    assert asked.data["error"] == "exit status 3: what happened"
    assert asked.data.get("retry", True) is True


async def test_the_last_line_of_stderr_comes_first(run):
    asked = await run("raise ValueError('no such page')")
    first, *rest = asked.data["error"].splitlines()
    assert first == "exit status 1: ValueError: no such page"
    assert rest[0].startswith("Traceback")
    assert rest[-1] == "ValueError: no such page"


async def test_status_100_fails_for_good(run):
    asked = await run("import sys; print('no such file', file=sys.stderr); sys.exit(100)")
    assert (asked.data["error"], asked.data["retry"]) == ("no such file", False)


async def test_progress_lines_are_reported_and_not_part_of_the_error(run, fake):
    asked = await run("import sys; print('::progress 0.4 reading', file=sys.stderr); sys.exit(1)")
    assert asked.data["error"] == "exit status 1: stderr is empty"
    (progress,) = fake.of("progress")
    assert (progress.data["progress"], progress.data["message"]) == (0.4, "reading")


async def test_too_much_output_ends_the_command(run):
    asked = await run("while True: print('x' * 1000)")
    assert asked.data["retry"] is False
    assert "stdout is larger than a result may be" in asked.data["error"]


async def test_a_command_that_closes_its_stdin_is_fine(run):
    script = "import os, time; os.close(0); print(1)"
    assert (await run(script, payload="x" * 500_000)).data["result"] == 1


async def test_a_process_left_running_ends_with_the_command(run, fake, tmp_path):
    script = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
print("done", flush=True)
"""
    assert (await run(script)).data["result"] == "done\n"
    await fake.eventually(lambda: not alive(int((tmp_path / "pid").read_text())))


async def test_a_cancelled_run_is_ended_even_if_it_ignores_sigterm(server, fake, run, tmp_path, monkeypatch):
    monkeypatch.setattr("hivewire.exec_agent.KILL_AFTER_S", 0.1)
    script = f"""
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("::progress 0 up", file=sys.stderr, flush=True)
open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
time.sleep(600)
"""
    agent = exec_agent("bob", [sys.executable, "-c", script], can=["x"], context=Context(nats_url=server.url))
    async with agent:
        await give(fake, agent)
        await fake.heard("progress")
        await fake.eventually(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()))
        await fake.tell("bob", "cancel", inbox.CancelAttempt("t1", 2, agent.instance))
        pid = int((tmp_path / "pid").read_text())
        await fake.eventually(lambda: not alive(pid))
    assert not fake.of("fail")


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie is one that nobody waited for, unless its parent is gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_an_unknown_command_is_bad_usage():
    with pytest.raises(BadUsage, match="no command 'surely-not-there'"):
        exec_agent("bob", ["surely-not-there"], can=[])


@pytest.mark.parametrize(
    ("output", "result"),
    [(b"", None), (b" \n", None), (b"[1]\n", b"[1]"), (b"\xff", "\N{REPLACEMENT CHARACTER}")],
)
def test_output_as_a_result(output, result):
    value = parsed(output)
    assert (bytes(value) if isinstance(value, msgspec.Raw) else value) == result


def test_deep_json_is_a_text():
    assert parsed(b"[" * 100_000) == "[" * 100_000


def test_the_tail_keeps_the_last_lines():
    tail = Tail(10)
    for n in range(100):
        tail.add(f"line {n}")
    assert tail.text == "line 99"
    tail.add("x" * 50)
    assert tail.text == "x" * 10
