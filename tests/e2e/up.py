"""A hive as a person runs it: `hivewire up` in one terminal, the command line in a second one."""

import json
import os
import pwd
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import psutil

from hivewire import Client
from hivewire.context import CONTEXT_FILE, Context
from ports import free_port

T = TypeVar("T")

HIVEWIRE = (sys.executable, "-m", "hivewire")
READY = re.compile(r"ready http=(\S+) nats=(\S+) postgres=(\S+) metrics=(\S+)\n")
STOP_S = 5.0
PATIENCE_S = 45.0


def eventually(look: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """What `look` returns once that is true; the last value stands in the failure."""
    deadline = time.monotonic() + patience_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{getattr(look, '__name__', look)} still returns {seen!r}"
        time.sleep(0.05)
    return seen


@dataclass
class Up:
    """One data directory, the `up` that runs on it, and a user's home in which commands find it without a flag."""

    home: Path
    user: str | None = None
    """Whom everything runs as; None: whoever runs the tests."""
    http_port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = field(default=None, init=False)
    addresses: tuple[str, ...] = field(default=(), init=False)

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the machine's own settings, so that the context file alone tells where the hive is."""
        foreign = ("HIVEWIRE_", "NATS_", "XDG_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', '')}"
        return inherited | {"HOME": str(self.home), "PATH": path, "COLUMNS": "120", "NO_COLOR": "1"}

    def spawn(self, command: Sequence[str], **options: Any) -> "subprocess.Popen[str]":
        """A program in this user's home."""
        if self.user is not None:
            account = pwd.getpwnam(self.user)
            options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        return subprocess.Popen(command, env=self.environment, cwd=self.home, text=True, **options)

    # --- the first terminal ---------------------------------------------------------------------------
    def start(self, *options: str) -> None:
        """Start and wait until it is ready."""
        command = [*self.up_command(), "--data", str(self.data), "--http-port", str(self.http_port), *options]
        with (self.home / "up.log").open("a") as log:
            self.process = self.spawn(command, stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        ready = READY.fullmatch(self.process.stdout.readline())
        assert ready, f"`up` did not get ready: {self.log()}"
        self.addresses = ready.groups()

    def up_command(self) -> list[str]:
        return [*HIVEWIRE, "up"]

    def log(self) -> str:
        return (self.home / "up.log").read_text()

    def processes(self) -> list[psutil.Process]:
        """All that runs for this `up`, itself included."""
        assert self.process is not None
        itself = psutil.Process(self.process.pid)
        return [itself, *itself.children(recursive=True)]

    def pid(self, name: str) -> int:
        """The pid of one service or server; of one that ended the last it had."""
        return json.loads((self.data / "run" / f"{name}.json").read_text())["pid"]

    def service(self, name: str) -> psutil.Process:
        """The process of one service or server."""
        return psutil.Process(self.pid(name))

    def stop(self, number: signal.Signals = signal.SIGINT, patience_s: float = STOP_S) -> int:
        """As Ctrl-C does it; the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(patience_s)

    def kill(self) -> None:
        """As the kernel does it when memory is short."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    # --- the second terminal --------------------------------------------------------------------------
    def run(self, *arguments: str, exits: int = 0, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        """A command, which must end with the exit status `exits` and without a traceback."""
        command = [*HIVEWIRE, *arguments]
        process = self.spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            output, errors = process.communicate(stdin, timeout=90)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == exits, f"{arguments} ended with {process.returncode}: {errors or output}"
        assert "Traceback" not in errors
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def error(self, *arguments: str, exits: int) -> str:
        """The one line that a failing command says."""
        (line,) = self.run(*arguments, exits=exits).stderr.splitlines()
        return line

    def json(self, *arguments: str) -> Any:
        """What a command prints with --json."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def task(self, task_id: str) -> dict[str, Any]:
        """A task as `hivewire task` shows it."""
        return self.json("task", task_id)

    def submit(self, *arguments: str) -> str:
        """The id of a new task."""
        return self.json("submit", *arguments)["task_id"]

    def history(self, task_id: str) -> list[str]:
        """The types of a task's events, oldest first, without `task.`."""
        return [event["type"].removeprefix("task.") for event in self.json("events", "--entity", task_id)]

    # --- programs -------------------------------------------------------------------------------------
    @property
    def context(self) -> Context:
        context = Context.read(self.data / CONTEXT_FILE)
        assert context is not None
        return context

    def client(self) -> AbstractAsyncContextManager[Client]:
        return Client.connect(context=self.context)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection to the hive's tables."""
        context = self.context
        connection = await asyncpg.connect(context.postgres_dsn, server_settings={"search_path": context.hive})
        try:
            yield connection
        finally:
            await connection.close()


def alive(processes: Sequence[psutil.Process]) -> list[str]:
    """Those that still run, for a message; zombies do not."""
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
        except psutil.NoSuchProcess:
            continue
    return found
