"""A hive to be measured: `hivewire up` and a fleet, as processes, with their data in a temporary directory."""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self, TypeVar

import asyncpg
import psutil

from hivewire.client import Client
from hivewire.context import Context, find_context
from hivewire.errors import HivewireError
from hivewire.membership import join
from hivewire_service.bench import noop
from hivewire_service.process import Child, Command

T = TypeVar("T")

START_S_MAX = 60.0
UP_STOPS_S = 10.0
AGENT_STOPS_S = 5.0
SUPERVISOR = "up"
_SERVERS = ("nats-server", "postgres")


class BenchHive:
    """A running hive that nobody else uses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._run = folder / "run"
        self._run.mkdir()
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HIVEWIRE_", "NATS_"))},
            "HIVEWIRE_DATA": str(self._data),
            "XDG_STATE_HOME": str(folder / "state"),  # the user's own hive stays the one that commands find
        }
        self._up = Child("up", self._run, stop_signals=(signal.SIGINT,))
        self._fleet: list[Child] = []
        self._readers: list[asyncio.Task[None]] = []

    @classmethod
    @asynccontextmanager
    async def running(cls, agents: int = 0, slots: int = 1) -> AsyncIterator[Self]:
        """A hive with a fleet of agents that do nothing.

        Args:
            agents: how many, each a process.
            slots: of each agent.

        Raises:
            HivewireError: something did not start; the text quotes what it said.
        """
        with tempfile.TemporaryDirectory(prefix="hivewire-bench-", ignore_cleanup_errors=True) as folder:
            hive = cls(Path(folder))
            try:
                await hive._start(
                    hive._up, {}, "ready ", "hivewire", "up", "--data", str(hive._data), "--http-port", "0"
                )
                await asyncio.gather(*(hive._start_agent(f"no-op-{n}", slots) for n in range(1, agents + 1)))
                yield hive
            finally:
                await hive._stop()

    @property
    def pid(self) -> int:
        """Of the process whose descendants are the servers and services."""
        assert self._up.pid is not None
        return self._up.pid

    @property
    def fleet_pids(self) -> list[int]:
        """Of the agents and helpers that run."""
        return [child.pid for child in self._fleet if child.pid is not None]

    def process_of(self, service: str) -> psutil.Process:
        """The process of a service that the supervisor runs.

        Raises:
            HivewireError: there is none.
        """
        for process, part in of_family(psutil.Process(self.pid), part_of):
            if part == service:
                return process
        raise HivewireError(f"no process of the {service} runs")

    @property
    def context(self) -> Context:
        return find_context(data=self._data)

    @property
    def service_credentials(self) -> Path:
        return self._data / "credentials" / "service.creds"

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """The operator's client."""
        async with Client.connect(context=self.context) as client:
            yield client

    @asynccontextmanager
    async def agent(self, agent_id: str) -> AsyncIterator[Client]:
        """The client of an agent, which has an inbox."""
        async with await join(self.context, agent_id, "agent") as connection:
            yield Client(connection)

    @asynccontextmanager
    async def postgres(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection to the hive's tables."""
        context = self.context
        connection = await asyncpg.connect(context.postgres_dsn, server_settings={"search_path": context.hive})
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def helper(self, module: str, *arguments: str, mark: str = "") -> AsyncIterator[None]:
        """A process that runs a Python module as long as the context lasts, from when it says `mark`, if that is given."""
        child = Child(f"{module}-{len(self._readers)}", self._run)  # some run twice
        self._fleet.append(child)
        try:
            if mark:
                await self._start(child, {}, mark, module, *arguments)
            else:
                argv = (sys.executable, "-m", module, *arguments)
                await child.start(Command(sys.executable, argv, self._environment))
                self._readers.append(asyncio.create_task(self._read(child)))
            yield
        finally:
            self._fleet.remove(child)
            await child.stop(AGENT_STOPS_S)

    async def start_standby(self, service: str) -> int:
        """Start one more process of a service; its pid.

        Raises:
            HivewireError: it did not start.
        """
        context = self.context
        assert context.postgres_dsn is not None
        child = Child(f"standby {service}", self._run)
        self._fleet.append(child)
        variables = {
            "NATS_URL": context.nats_url,
            "NATS_CREDS": str(self.service_credentials),
            "HIVEWIRE_POSTGRES_DSN": context.postgres_dsn,
            "HIVEWIRE_HIVE": context.hive,
            "HIVEWIRE_LOG_FORMAT": "json",
        }
        await self._start(child, variables, '"started"', "hivewire", "serve", service)
        assert child.pid is not None
        return child.pid

    async def _start_agent(self, agent_id: str, slots: int) -> None:
        child = Child(agent_id, self._run)
        self._fleet.append(child)
        variables = {noop.ID_VARIABLE: agent_id, noop.SLOTS_VARIABLE: str(slots)}
        await self._start(child, variables, " is ready", "hivewire", "agent", "run", f"{noop.__name__}:agent")

    async def _start(self, child: Child, variables: dict[str, str], mark: str, *arguments: str) -> None:
        """Run a Python module with its arguments, and wait until it says `mark`."""
        argv = (sys.executable, "-m", *arguments)
        await child.start(Command(sys.executable, argv, self._environment | variables))
        said = asyncio.get_running_loop().create_future()
        self._readers.append(asyncio.create_task(self._read(child, mark, said)))
        try:
            await asyncio.wait_for(said, START_S_MAX)
        except TimeoutError:
            raise HivewireError(f"{child.name} was not ready in {START_S_MAX:g} s") from None

    async def _read(self, child: Child, mark: str = "", said: asyncio.Future[None] | None = None) -> None:
        """Read what a child says, to its end."""
        assert child.process is not None
        assert child.process.stdout is not None
        last = ""
        async for line in child.process.stdout:
            last = line.decode(errors="replace").strip() or last
            if said and mark in last and not said.done():
                said.set_result(None)
        if said and not said.done():
            said.set_exception(HivewireError(f"{child.name} did not start: {last}"))

    async def _stop(self) -> None:
        await asyncio.gather(*(child.stop(AGENT_STOPS_S) for child in self._fleet))
        await self._up.stop(UP_STOPS_S)
        await asyncio.gather(*self._readers)


def part_of(process: psutil.Process) -> str:
    """Which part of a hive a process is: a server, a service, or the supervisor."""
    name = process.name()
    if name in _SERVERS:
        return name
    words = process.cmdline()
    return words[words.index("serve") + 1] if "serve" in words else SUPERVISOR


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and its descendants."""
    return [process, *process.children(recursive=True)]


def of_family(process: psutil.Process, read: Callable[[psutil.Process], T]) -> list[tuple[psutil.Process, T]]:
    """A process and its descendants with what `read` tells of each, without those that end meanwhile: Postgres has a
    process for every connection."""
    found = []
    for member in family(process):
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            found.append((member, read(member)))
    return found
