"""One hive for all tests of the session, hives of their own for those that break things, and agents in processes."""

import itertools
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e.up import HIVEWIRE, Up, eventually

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A hive that runs for the whole session. A test takes capabilities of its own, see `skill`."""
    running = Up(tmp_path_factory.mktemp("up"))
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def own_up(tmp_path: Path) -> Iterator[Up]:
    """A hive that the test may start, stop and kill as it likes."""
    own = Up(tmp_path)
    yield own
    if own.process is not None and own.process.poll() is None:
        own.stop()


@pytest.fixture
def skill() -> str:
    """A capability that no other test's agents have."""
    return f"skill-{next(_numbers)}"


@pytest.fixture
def start() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a `hivewire` command that goes on, such as an agent, and ends it with the test."""
    with ExitStack() as stack:

        def start(up: Up, *arguments: str) -> "subprocess.Popen[str]":
            process = up.spawn([*HIVEWIRE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            stack.callback(_end, process)
            return process

        yield start


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.communicate(timeout=20)
    finally:
        process.kill()


@pytest.fixture
def exec_agent(start) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts an agent that runs a shell script for each task, and waits until it is registered."""

    def exec_agent(up: Up, agent_id: str, can: str, script: str, slots: int = 1) -> "subprocess.Popen[str]":
        arguments = ("--id", agent_id, "--can", can, "--slots", str(slots), "--", "sh", "-c", script)
        process = start(up, "agent", "exec", *arguments)
        eventually(lambda: agent_id in {agent["agent_id"] for agent in up.json("agents")})
        return process

    return exec_agent
