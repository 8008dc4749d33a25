"""Child processes: started so that they end with us, recorded so that a later start finds them, and stopped for good.

Linux sends a child its death signal when its parent ends, however that happened. The record is for what that misses:
other systems, and children that are slow to end when their parent was killed.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from hivewire.errors import HivewireError

_LAUNCHER = str(Path(__file__).with_name("launcher.py"))
_LINE_BYTES_MAX = 1024 * 1024
_SAME_START_S = 1.0
"""Two readings of a process's start time differ by less than this; a reused pid by far more."""


@dataclass(frozen=True, slots=True)
class User:
    """Whom a child runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a child.

    `argv[0]` may differ from `program`. `stdout` is a file descriptor, or None to read the output from a pipe.
    """

    program: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path | None = None
    user: User | None = None
    stdout: int | None = None


@dataclass(slots=True)
class Child:
    """One child process under a fixed name, which can be started again after it ended."""

    name: str
    run_dir: Path
    stop_signals: Sequence[signal.Signals] = (signal.SIGTERM,)
    """Sent one after the other, each when the one before did not end the child in its time; SIGKILL comes last."""
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def pid(self) -> int | None:
        """The pid of the running child, or None."""
        return self.process.pid if self.process and self.process.returncode is None else None

    async def start(self, command: Command) -> None:
        """Start the child in a session of its own, where the terminal's Ctrl-C does not reach it.

        Raises:
            HivewireError: the program cannot be started.
        """
        user = f"{command.user.uid}:{command.user.gid}" if command.user else ""
        output = asyncio.subprocess.PIPE if command.stdout is None else command.stdout
        try:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", _LAUNCHER, str(os.getpid()), str(int(self.stop_signals[0])), user, command.program),
                *command.argv,
                env=dict(command.env),
                cwd=command.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                limit=_LINE_BYTES_MAX,
            )
        except OSError as error:
            raise HivewireError(f"cannot start {self.name}: {error.strerror}") from error
        _record(self.run_dir, self.name, self.process.pid, Path(command.argv[0]).name)

    async def wait(self) -> int:
        """Wait until the child ended; its exit status, negative for a signal. The child must have been started."""
        assert self.process is not None
        return await self.process.wait()

    async def stop(self, grace_s: float) -> None:
        """End the child: each stop signal gets `grace_s` seconds, then its whole session is killed."""
        if self.process is None:
            return
        for number in self.stop_signals:
            if self.pid is None:
                break
            self.send(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), grace_s)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        _record_path(self.run_dir, self.name).unlink(missing_ok=True)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the child, if it runs."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


# --- records and orphans ----------------------------------------------------------------------------
def _record_path(run_dir: Path, name: str) -> Path:
    return run_dir / f"{name}.json"


def _record(run_dir: Path, name: str, pid: int, program: str) -> None:
    # A full disk must not end who watches over the child; without a record, it is found by its death signal alone.
    with contextlib.suppress(psutil.NoSuchProcess, OSError):
        started = psutil.Process(pid).create_time()
        text = json.dumps({"name": name, "pid": pid, "started": started, "program": program})
        part = run_dir / f".{name}.part"
        part.write_text(text)
        part.replace(_record_path(run_dir, name))


def recorded(run_dir: Path) -> dict[str, psutil.Process]:
    """The processes that are recorded in `run_dir` and still run, by name.

    A pid that was given to another process since is not taken for it: start time and program must fit.
    """
    found = {}
    for file in sorted(run_dir.glob("*.json")):
        with contextlib.suppress(ValueError, KeyError, TypeError, OSError, psutil.Error):
            record = json.loads(file.read_text())
            process = psutil.Process(record["pid"])
            same_start = abs(process.create_time() - record["started"]) < _SAME_START_S
            if same_start and any(record["program"] in part for part in process.cmdline()):
                found[record["name"]] = process
    return found


async def end_orphans(run_dir: Path, grace_s: float) -> list[str]:
    """End what an earlier owner of `run_dir` left running, and return the names of what was found.

    Args:
        run_dir: where that owner recorded its children.
        grace_s: seconds that they have to end before they are killed.
    """
    orphans = recorded(run_dir)
    # Postgres takes SIGINT as a fast shutdown, and SIGTERM as one that waits for its clients.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        alive = [process for process in orphans.values() if _alive(process)]
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        await asyncio.to_thread(psutil.wait_procs, alive, grace_s)
    for file in run_dir.glob("*.json"):
        file.unlink(missing_ok=True)
    return sorted(orphans)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
