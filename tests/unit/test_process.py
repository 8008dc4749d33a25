import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from hivewire.errors import HivewireError
from hivewire_service.embedded import DataFolder
from hivewire_service.process import Child, Command, end_orphans, recorded
from hivewire_service.supervisor import LIVED_S, PAUSE_MAX_S, keep_running, next_pause_s

FOREVER = "import signal; signal.pause()"
STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)\nwhile 1: signal.pause()"
)


def python(code: str, stdout: int | None = subprocess.DEVNULL) -> Command:
    return Command(sys.executable, (sys.executable, "-c", code), dict(os.environ), stdout=stdout)


async def test_a_child_is_recorded_while_it_runs(tmp_path):
    child = Child("broker", tmp_path)
    await child.start(python(FOREVER))
    assert recorded(tmp_path)["broker"].pid == child.pid
    await child.stop(5)
    assert child.pid is None
    assert recorded(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


async def test_a_child_that_ignores_its_signal_is_killed(tmp_path):
    child = Child("deaf", tmp_path)
    await child.start(python(STUBBORN, stdout=None))
    assert await child.process.stdout.readline() == b"deaf\n"
    await child.stop(0.05)
    assert await child.wait() == -signal.SIGKILL


async def test_a_program_that_is_missing_fails_at_once(tmp_path):
    child = Child("nothing", tmp_path)
    await child.start(Command("/no/such/program", ("nothing",), {}, stdout=subprocess.DEVNULL))
    assert await child.wait() != 0


async def test_a_folder_that_is_missing_is_explained(tmp_path):
    child = Child("lost", tmp_path)
    with pytest.raises(HivewireError, match="cannot start lost: No such file"):
        await child.start(Command(sys.executable, ("python",), {}, cwd=tmp_path / "gone"))


PARENT = """
import asyncio, os, pathlib, subprocess, sys
from hivewire_service.process import Child, Command

async def main():
    child = Child("orphan", pathlib.Path(sys.argv[1]))
    argv = (sys.executable, "-c", sys.argv[2])
    await child.start(Command(sys.executable, argv, dict(os.environ), stdout=subprocess.DEVNULL))
    print(child.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's end")
async def test_a_child_ends_with_its_killed_parent(tmp_path):
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), FOREVER], stdout=subprocess.PIPE) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    await asyncio.to_thread(child.wait, 30)


async def test_orphans_are_ended_and_strangers_are_not(tmp_path):
    orphan = subprocess.Popen([sys.executable, "-c", FOREVER])
    stranger = subprocess.Popen([sys.executable, "-c", FOREVER])
    started = psutil.Process(orphan.pid).create_time()
    program = Path(sys.executable).name
    records = {
        "orphan": {"name": "orphan", "pid": orphan.pid, "started": started, "program": program},
        "reused": {"name": "reused", "pid": stranger.pid, "started": started - 60, "program": program},
        "renamed": {"name": "renamed", "pid": stranger.pid, "started": started, "program": "nats-server"},
        "malformed": [],
    }
    for name, record in records.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    try:
        assert await end_orphans(tmp_path, 5) == ["orphan"]
        assert not psutil.pid_exists(orphan.pid)
        assert stranger.poll() is None
        assert list(tmp_path.iterdir()) == []
    finally:
        for process in (orphan, stranger):
            process.kill()
            process.wait()


async def test_a_child_that_ends_is_started_again(tmp_path):
    child = Child("short", tmp_path)
    starts: asyncio.Queue[int] = asyncio.Queue()

    async def start() -> None:
        await child.start(python("raise SystemExit(3)"))
        starts.put_nowait(child.process.pid)

    await start()
    watch = asyncio.create_task(keep_running(child, start))
    pids = {await starts.get() for _ in range(3)}
    assert len(pids) == 3
    watch.cancel()
    await child.stop(1)


def test_only_a_child_that_keeps_failing_at_start_waits_for_its_next_one():
    pauses = list(itertools.accumulate([0.0, *[LIVED_S / 2] * 8], next_pause_s))
    assert 0 < pauses[1] < pauses[2] < pauses[-1] == PAUSE_MAX_S
    assert next_pause_s(PAUSE_MAX_S, LIVED_S) == 0


def test_a_folder_gives_the_same_port_again_unless_it_is_taken(tmp_path):
    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    port = folder.port("nats-server")
    assert folder.port("nats-server") == port
    assert folder.port("postgres") != port


def test_a_log_is_bounded_under_its_writer(tmp_path):
    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    writer = folder.open_log("postgres")
    for _ in range(11):
        os.write(writer, b"x" * 1024 * 1024)
    folder.bound_log("postgres")
    os.write(writer, b"last\n")
    os.close(writer)
    assert folder.log("postgres").read_text() == "last\n"
    assert folder.last_failure("postgres") == "last"
    assert folder.log("postgres").with_suffix(".log.1").stat().st_size == 10 * 1024 * 1024
