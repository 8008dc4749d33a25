"""`hivewire up`: a whole hive on this machine, watched over until Ctrl-C.

nats-server, Postgres and every service are child processes. What ends is started again at once, and with growing pauses
when it keeps ending; a service finds its place again by itself, from Postgres.
"""

import asyncio
import contextlib
import json
import logging.handlers
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog

from hivewire.context import CONTEXT_FILE, Context, user_context_file
from hivewire.errors import HivewireError
from hivewire.private_file import write_private
from hivewire.subjects import AGENT_GATEWAY, BROKER, CONVERSATION, TICK_ENGINE, Subjects
from hivewire_service import health
from hivewire_service.embedded import DataFolder, Embedded
from hivewire_service.embedded.folder import explained, try_port
from hivewire_service.migrations import migrate
from hivewire_service.process import Child, Command
from hivewire_service.roles import RESERVED_NAMES, Role
from hivewire_service.side_by_side import end, until_first_ends

log = structlog.get_logger()

SERVICES = (BROKER, AGENT_GATEWAY, TICK_ENGINE, CONVERSATION)
"""What `up` starts, each as a process of its own."""

SERVICE_GRACE_S = 2.5
"""For a service to finish its commit and give its lease back. With the servers' time, all is down within 5 s."""
PAUSE_FIRST_S = 0.1
PAUSE_MAX_S = 5.0
LIVED_S = 3.0
"""A child that lived this long did not fail at start, and is started again at once."""
READY_S_MAX = 60.0
READY_PAUSE_S = 0.05
LOGS_CHECKED_S = 60.0
SERVERS_CHECKED_S = 2.0
_LOG_ONLY = {"event", "level", "timestamp", "exception"}
LOG_BYTES_MAX = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What `hivewire up` was told."""

    data_dir: Path
    http_port: int = 8600
    """0: a free one."""
    hive: str = "hive"
    environment: tuple[tuple[str, str], ...] = ()
    """More environment variables of the services."""
    demo: bool = False
    """Also a small fleet of agents that always has something to do."""


def up(options: UpOptions) -> None:
    """Run a hive until SIGINT or SIGTERM.

    Raises:
        HivewireError: the data directory or a port cannot be used, or something does not start.
    """
    asyncio.run(Supervisor(options).run())


class Supervisor:
    """The hive of one `up`."""

    def __init__(self, options: UpOptions) -> None:
        self._options = options
        self._stack = Embedded(options.data_dir)
        self._folder: DataFolder = self._stack.folder
        self._services: list[Service] = []
        self._fleet = DemoFleet(self._folder) if options.demo else None

    async def run(self) -> None:
        """Start everything, keep it running, and stop it on SIGINT or SIGTERM.

        Raises:
            HivewireError: the data directory or a port cannot be used, or something does not start.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        life = asyncio.create_task(self._live())
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((life, stopped), return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                log.info("stopping")
        finally:
            stopped.cancel()
            await end([life])
            await self._stop()
        if not life.cancelled():
            life.result()

    async def _live(self) -> None:
        Subjects(self._options.hive)  # refuses a name that no hive can have
        await self._stack.claim()
        if self._stack.orphans:
            log.warning("ended what a killed `up` had left", processes=self._stack.orphans)
        check_port(self._options.http_port)
        log.info("starting nats-server, Postgres and the services", data=str(self._folder.root))
        await self._stack.start()
        with explained(self._folder.root):
            self._write_credentials()
        await migrate(self._stack.postgres.dsn, self._options.hive)
        if self._options.http_port == 0:
            self._options = replace(self._options, http_port=self._folder.port("http"))
        self._services = [Service(name, self._folder, self._options) for name in SERVICES]
        parts = [*self._services, *([self._fleet] if self._fleet else [])]
        await until_first_ends(*(part.collect_output() for part in parts), self._watch(parts))

    async def _watch(self, parts: Sequence["Part"]) -> None:
        await self._start_services()
        watching = [keep_running(part.child, partial(part.start, self._stack)) for part in parts]
        servers = (self._stack.nats, self._stack.postgres)
        watching += [keep_running(server.child, server.start) for server in servers]
        await until_first_ends(*watching, self._bound_logs(), self._help_servers())

    async def _start_services(self) -> None:
        for service in self._services:
            await service.start(self._stack)
        await asyncio.gather(*(service.until_ready() for service in self._services))
        self._announce()
        if self._fleet:
            await self._fleet.start(self._stack)

    def _write_credentials(self) -> None:
        issuer = self._stack.nats.add_hive(self._options.hive)
        for role, name in RESERVED_NAMES.items():
            write_private(credentials_file(self._folder, role), issuer.issue(role, name))

    def _announce(self) -> None:
        metrics = {service.name: service.metrics_url for service in self._services}
        http_url = f"http://127.0.0.1:{self._options.http_port}"
        context = Context(
            nats_url=self._stack.nats.url,
            hive=self._options.hive,
            nats_creds=str(credentials_file(self._folder, Role.OPERATOR)),
            postgres_dsn=self._stack.postgres.dsn,
            http_url=http_url,
            data_dir=str(self._folder.root),
            pid=os.getpid(),
            metrics=metrics,
        )
        with explained(self._folder.root):
            context.write(self._folder.root / CONTEXT_FILE)
        with explained(user_context_file().parent):
            context.write(user_context_file())
        print(  # noqa: T201  # this line is what scripts wait for
            f"ready http={http_url} nats={self._stack.nats.url} postgres={self._stack.postgres.address} "
            f"metrics={','.join(metrics.values())}",
            flush=True,
        )
        log.info("Ctrl-C stops all of it", http_api=f"{http_url}/docs")

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(LOGS_CHECKED_S)
            for server in (self._stack.nats, self._stack.postgres):
                self._folder.bound_log(server.name)

    async def _help_servers(self) -> None:
        """End servers that run and yet will never work again by themselves; they are started anew."""
        nats, postgres = self._stack.nats, self._stack.postgres
        out_of_room = False
        while True:
            await asyncio.sleep(SERVERS_CHECKED_S)
            with contextlib.suppress(OSError):
                out_of_room = nats.ran_out_of_room() or out_of_room
                if out_of_room and nats.has_room():
                    log.warning("nats-server had no room and has some again: starting it anew")
                    nats.child.send(signal.SIGTERM)
                    out_of_room = False
            if postgres.is_waiting_to_stop():
                log.warning("postgres was told to stop and waits for its clients: ending their sessions")
                postgres.child.send(signal.SIGINT)

    async def _stop(self) -> None:
        for file in (self._folder.root / CONTEXT_FILE, user_context_file()):
            with contextlib.suppress(HivewireError):
                context = Context.read(file)
                if context is not None and context.pid == os.getpid():
                    file.unlink(missing_ok=True)
        if self._fleet:
            await self._fleet.child.stop(SERVICE_GRACE_S)
        await asyncio.gather(*(service.child.stop(SERVICE_GRACE_S) for service in self._services))
        await self._stack.stop()


def next_pause_s(pause_s: float, lived_s: float) -> float:
    """How long to wait until a child that lived so long is started again; `pause_s`: how long that was the last time."""
    return 0.0 if lived_s >= LIVED_S else min(max(2 * pause_s, PAUSE_FIRST_S), PAUSE_MAX_S)


async def keep_running(child: Child, start: Callable[[], Awaitable[None]]) -> None:
    """Start a child again whenever it ends: at once, and with growing pauses while it keeps failing at start."""
    pause_s = 0.0
    while True:
        begun = time.monotonic()
        status = await child.wait()
        pause_s = next_pause_s(pause_s, time.monotonic() - begun)
        log.warning("a process ended and is started again", process=child.name, status=status, pause_s=pause_s)
        await asyncio.sleep(pause_s)
        try:
            await start()
        except HivewireError as error:
            log.error("a process could not be started", process=child.name, error=str(error))


class Part(ABC):
    """A program of ours that runs beside the servers: its process and its log."""

    def __init__(self, name: str, folder: DataFolder) -> None:
        self.name = name
        self.child = Child(name, folder.run)
        self._folder = folder
        self._started = asyncio.Event()

    @abstractmethod
    async def start(self, stack: Embedded) -> None:
        """Start the process.

        Raises:
            HivewireError: it cannot be started.
        """

    async def _run(self, module: str, *arguments: str, environment: Mapping[str, str]) -> None:
        argv = (sys.executable, "-m", module, *arguments)
        await self.child.start(Command(sys.executable, argv, {**os.environ, **environment}))
        self._started.set()

    async def collect_output(self) -> None:
        """Write what it says to its log, and show warnings on the terminal, over all its restarts."""
        with contextlib.closing(
            logging.handlers.RotatingFileHandler(self._folder.log(self.name), maxBytes=LOG_BYTES_MAX, backupCount=1)
        ) as file:
            while True:
                await self._started.wait()
                self._started.clear()
                async for line in self._lines():
                    file.emit(logging.makeLogRecord({"msg": line}))
                    self._show(line)

    async def _lines(self) -> AsyncIterator[str]:
        assert self.child.process is not None
        assert self.child.process.stdout is not None
        while True:
            try:
                line = await self.child.process.stdout.readline()
            except ValueError:
                continue  # longer than the reader's bound, and dropped by it
            if not line:
                return
            yield line.decode(errors="replace").rstrip()

    def _show(self, line: str) -> None:
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("level") in {"warning", "error", "critical"}:
                fields = {name: entry[name] for name in entry if name not in _LOG_ONLY}
                log.log(logging.getLevelName(entry["level"].upper()), entry.get("event", ""), **fields)


class DemoFleet(Part):
    """The agents of `hivewire up --demo`, which find the hive as any program of this user does."""

    def __init__(self, folder: DataFolder) -> None:
        super().__init__("demo-fleet", folder)

    async def start(self, stack: Embedded) -> None:
        await self._run("hivewire.demo_fleet", environment={"HIVEWIRE_DATA": str(stack.folder.root)})


class Service(Part):
    """One of the hive's services, and where it is asked for its health."""

    def __init__(self, name: str, folder: DataFolder, options: UpOptions) -> None:
        super().__init__(name, folder)
        self._metrics_port = 0
        self._options = options

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self._metrics_port}/metrics"

    async def start(self, stack: Embedded) -> None:
        """Start the process; started again, it is asked on the same port. It waits for its servers by itself."""
        self._metrics_port = self._metrics_port or self._folder.port(f"{self.name} metrics")
        await self._run("hivewire", "serve", self.name, environment=self._environment(stack))

    def _environment(self, stack: Embedded) -> dict[str, str]:
        """Secrets go by the environment, which only the same user can read, or by the path of a file."""
        return {
            "HIVEWIRE_HIVE": self._options.hive,
            "HIVEWIRE_DATA": str(self._folder.root),
            "NATS_URL": stack.nats.url,
            "NATS_CREDS": str(credentials_file(self._folder, Role.SERVICE)),
            "HIVEWIRE_POSTGRES_DSN": stack.postgres.dsn,
            "HIVEWIRE_KEYS_FILE": str(stack.nats.keys_file(self._options.hive)),
            "HIVEWIRE_AUTHORITY_FILE": str(stack.nats.authority_file),
            "HIVEWIRE_METRICS_PORT": str(self._metrics_port),
            "HIVEWIRE_HTTP_PORT": str(self._options.http_port),
            "HIVEWIRE_LOG_FORMAT": "json",
            # Agents and webhooks on this machine are what a local hive is for.
            "HIVEWIRE_OUTBOUND_NETWORKS": '["127.0.0.0/8", "::1/128"]',
            **dict(self._options.environment),
        }

    async def until_ready(self) -> None:
        """Wait until the service can take work.

        Raises:
            HivewireError: it ended or was not ready in a minute; the text quotes its log.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_S_MAX):
                while self.child.pid is not None:
                    answer = await health.probe(self._metrics_port)
                    if answer and answer["ready"] and answer["role"] != "standby":
                        return
                    await asyncio.sleep(READY_PAUSE_S)
        raise HivewireError(
            f"{self.name} did not start: {self._folder.last_failure(self.name)} (see {self._folder.log(self.name)})"
        )


def check_port(port: int) -> None:
    """See that the HTTP door can listen.

    Raises:
        HivewireError: it cannot.
    """
    try:
        try_port(port)
    except PermissionError:
        raise HivewireError(f"port {port} is not for this user: choose one above 1023 with --http-port") from None
    except OSError:
        raise HivewireError(f"port {port} is in use: choose another with --http-port, or 0 for a free one") from None


def credentials_file(folder: DataFolder, role: Role) -> Path:
    """Where `up` keeps the credentials of its services and of the local operator."""
    return folder.credentials / f"{role}.creds"
