import json
import signal
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]


def call(name: str, question: object, timeout_s: float) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "hivewire_tick_engine.child", f"integration.callables:{name}", str(timeout_s)]
    return subprocess.run(
        command, input=json.dumps(question), capture_output=True, text=True, check=False, cwd=TESTS, timeout=30
    )


def test_what_is_returned_is_the_answer_and_what_is_printed_is_not():
    done = call("double", {"content": {"value": 21}}, 30)
    assert json.loads(done.stdout) == {"value": 42}
    assert done.stderr == "what is printed is no answer\n"


def test_a_callable_whose_engine_was_killed_ends_by_itself():
    assert call("never", {}, 0.1).returncode == -signal.SIGALRM
