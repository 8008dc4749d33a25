"""The processes of the demo: the hive and its fleet, each with a log of its own."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Coroutine, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from hivewire.context import Context, find_context

ROOT = Path(__file__).parents[2]
HIVE = "hive"
HIVE_STOPS_S = 10.0
AGENT_STOPS_S = 5.0
"""What needs longer to stop is killed."""
LOG_LINES_SHOWN = 5


class ProcessEnded(Exception):
    """A process ended that should run. The text says which, and quotes its log."""


class Stage:
    """What the demo starts, and ends with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HIVEWIRE_", "NATS_"))},
            "HIVEWIRE_DATA": str(self._data),
            "XDG_STATE_HOME": str(folder / "state"),  # another hive of the same user stays the one that is found
        }
        self._processes: dict[str, Process] = {}
        self._commands: dict[str, tuple[str, ...]] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end([name for name in self._processes if name != HIVE], signal.SIGTERM, AGENT_STOPS_S)
        await self._end([name for name in self._processes if name == HIVE], signal.SIGINT, HIVE_STOPS_S)
        self._failed.cancel()

    async def start_hive(self) -> Context:
        """Start `hivewire up` and wait until it takes work.

        Raises:
            ProcessEnded: it did not start.
        """
        process = await self._start(
            HIVE, "up", "--data", str(self._data), "--http-port", str(_free_port()), stdout=PIPE
        )
        assert process.stdout is not None
        async for line in process.stdout:
            if line.startswith(b"ready "):
                self._watch(HIVE)
                return find_context(data=self._data)
        await process.wait()
        raise self._ended(HIVE)

    async def start_agent(self, name: str, *command: str) -> None:
        """Start an agent by its command line, behind `hivewire agent`."""
        self._commands[name] = command
        await self._start(name, "agent", *command)
        self._watch(name)

    async def start_again(self, name: str) -> None:
        """Start an agent once more, as it was started before."""
        await self.start_agent(name, *self._commands[name])

    async def kill(self, name: str) -> None:
        """End a process as a power cut would."""
        self._watchers.pop(name).cancel()
        process = self._processes.pop(name)
        process.kill()
        await process.wait()

    async def see_through(self, story: Coroutine[None, None, None]) -> None:
        """Await `story`.

        Raises:
            ProcessEnded: a process ended by itself before.
        """
        telling = asyncio.ensure_future(story)
        try:
            await asyncio.wait((telling, self._failed), return_when=asyncio.FIRST_COMPLETED)
            if not telling.done():
                self._failed.result()
        finally:
            telling.cancel()
            await asyncio.wait((telling,))
        telling.result()

    async def _start(self, name: str, *arguments: str, stdout: int | None = None) -> Process:
        with self._log(name).open("ab") as log:
            # In a session of its own, a process is ended by us and not by the terminal's Ctrl-C.
            process = self._processes[name] = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "hivewire", *arguments),
                cwd=ROOT,
                env=self._environment,
                stdin=DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                start_new_session=True,
            )
        return process

    def _watch(self, name: str) -> None:
        self._watchers[name] = asyncio.create_task(self._report_end(name))

    async def _report_end(self, name: str) -> None:
        await self._processes[name].wait()
        if not self._failed.done():
            self._failed.set_exception(self._ended(name))

    def _ended(self, name: str) -> ProcessEnded:
        tail = "\n".join(self._log(name).read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])
        return ProcessEnded(f"{name} ended with status {self._processes[name].returncode}:\n{tail}")

    async def _end(self, names: Iterable[str], number: signal.Signals, grace_s: float) -> None:
        for name in names:
            if watcher := self._watchers.pop(name, None):
                watcher.cancel()
        await asyncio.gather(*(_end(self._processes.pop(name), number, grace_s) for name in names))

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"


async def _end(process: Process, number: signal.Signals, grace_s: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), grace_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
