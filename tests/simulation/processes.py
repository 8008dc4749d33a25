"""Processes of a simulated hive. Each has its own connections, may be killed at any await, and may be paused."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from hivewire.connection import Connection
from hivewire.subjects import Subjects
from hivewire_service.bus import Bus
from hivewire_service.health import Health
from hivewire_service.lease import Lease, Term, _Renewal
from hivewire_service.retention import Periods
from hivewire_service.run import SENDER, Definition
from hivewire_service.service import Service
from hivewire_service.settings import Settings
from hivewire_service.store import Store
from simulation.nats.client import Client, Network
from simulation.postgres.database import Database, Pool, Session
from simulation.virtual_time import EPOCH_S, VirtualLoop

_current: ContextVar["Process"] = ContextVar("process")
URL = "nats://simulated:4222"
RESTART_S = 1.0


class Machine(Protocol):
    """What processes run on."""

    loop: VirtualLoop
    network: Network
    database: Database

    def note(self, who: str, what: str) -> None:
        """Take a step down into the trace."""

    def dies_here(self, process: "Process") -> bool:
        """Whether the process is killed at this step."""

    async def on_the_way(self, *, back: bool) -> None:
        """To Postgres or back. Raises OSError when the way is broken."""

    def died(self, process: "Process", error: BaseException) -> None:
        """A process ended by itself."""


class NumberedTask(asyncio.Task[Any]):
    """A task whose place in a set does not depend on where it lies in memory."""

    _last = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        NumberedTask._last += 1
        self._number = NumberedTask._last
        super().__init__(*arguments, **options)

    def __hash__(self) -> int:
        return self._number


def make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> NumberedTask:
    """The loop's task factory: each task belongs to the process that made it."""
    task = NumberedTask(coroutine, loop=loop, **options)
    process = _current.get(None)
    if process is not None:
        process.tasks[task] = None
        task.add_done_callback(process.tasks.pop)
    return task


class Process:
    """One life after another of one program."""

    def __init__(self, machine: Machine, name: str, program: Callable[["Process"], Awaitable[None]]) -> None:
        self.machine = machine
        self.name = name
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.clients: list[Client] = []
        self.alive = False
        self.skew_s = 0.0
        """How far its clock is ahead of the others'."""
        self._program = program
        self._running: asyncio.Event = asyncio.Event()
        self._running.set()

    # life -------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Begin a life."""
        self.alive = True
        self.clients = []
        context = copy_context()
        context.run(_current.set, self)
        context.run(asyncio.ensure_future, self._live())

    async def _live(self) -> None:
        self.machine.note(self.name, "starts")
        try:
            await self._program(self)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # the machine says what it means
            self.machine.died(self, error)
        if self.alive:
            self.kill()

    def kill(self) -> None:
        """End at once, as by SIGKILL: nothing more is sent or written. It starts again after a while."""
        if not self.alive:
            return
        self.machine.note(self.name, "is killed")
        self.alive = False
        self._running.set()
        for client in self.clients:
            client.die()
        for task in list(self.tasks):
            task.cancel()
        copy_context().run(self._start_again)

    def retire(self) -> None:
        """End, and never start again."""
        self.alive = False
        self._running.set()
        for client in self.clients:
            client.die()

    def _start_again(self) -> None:
        _current.set(None)  # type: ignore[arg-type]
        self._restarting = asyncio.ensure_future(self._restart())

    async def _restart(self) -> None:
        await asyncio.sleep(RESTART_S)
        while self.tasks:
            for task in list(self.tasks):
                task.cancel()
            await asyncio.sleep(RESTART_S)
        self.start()

    def pause(self) -> None:
        """Stand still at the next step, as by SIGSTOP."""
        self.machine.note(self.name, "is paused")
        self._running.clear()

    def resume(self) -> None:
        """Go on."""
        self._running.set()

    # steps ------------------------------------------------------------------------------------------
    async def point(self, what: str) -> None:
        """One step that others can see: here a process may die, or stand still."""
        if not self.alive:
            raise asyncio.CancelledError
        self.machine.note(self.name, what)
        await self._running.wait()
        if self.alive and self.machine.dies_here(self):
            self.kill()
        if not self.alive:
            raise asyncio.CancelledError

    async def trip(self, work: Callable[[], Any]) -> Any:
        """A statement on its way to Postgres, and its answer on the way back."""
        await self.point("asks postgres")
        await self.machine.on_the_way(back=False)
        await self.point("is heard by postgres")
        answer = work()
        await self.machine.on_the_way(back=True)
        await self.point("hears postgres")
        return answer

    # what it has ------------------------------------------------------------------------------------
    def client(self) -> Client:
        """A connection to NATS."""
        client = Client(self.machine.network, self.point)
        self.clients.append(client)
        return client

    def now(self) -> datetime:
        """What its clock says."""
        return moment(self.machine.loop) + timedelta(seconds=self.skew_s)


def moment(loop: VirtualLoop) -> datetime:
    """The true time."""
    return datetime.fromtimestamp(EPOCH_S, UTC) + timedelta(seconds=loop.time())


# services -------------------------------------------------------------------------------------------
class MemoryStore(Store):
    """A store whose connections lead to the database in memory."""

    def __init__(self, process: Process, hive: str, service: str) -> None:
        super().__init__("", hive, service)
        self._process = process

    async def open(self) -> None:
        self.pool = Pool(self._process.machine.database, self._process.trip)  # type: ignore[assignment]

    async def connect(self, **settings: str) -> Any:
        await self._process.machine.on_the_way(back=True)
        return Session(self._process.machine.database, self._process.trip)

    async def drop_history(self) -> None:
        """There are no partitions, and no simulated history is old enough."""


class _RenewalTask(_Renewal):
    """Renews in a task: there is nothing beside the one loop that a busy one could hold up."""

    def __init__(self, store: Store, term: Term, lease_s: float, lost: Callable[[bool], None]) -> None:
        self._store, self._term, self._lease_s, self._lost = store, term, lease_s, lost
        self._connection, self._stopping = None, False
        self.renewed_s = time.monotonic()

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._renew())

    def stop(self) -> None:
        self._task.cancel()


class LeaseInLoop(Lease):
    """A lease that is renewed within the loop."""

    def keep(self, term: Term, lost: Callable[[bool], None]) -> None:
        self.stop()
        self._renewal = _RenewalTask(self._store, term, self._lease_s, lost)
        self._renewal.start()


async def serve(process: Process, definition: Definition, settings: Settings) -> None:
    """What `hivewire_service.run` does, on the simulated machine and without a door."""
    subjects = Subjects(settings.hive)
    store = MemoryStore(process, settings.hive, definition.name)
    await store.open()
    bus = Bus(URL, None, SENDER, process.name)
    bus.client = process.client()  # type: ignore[assignment]
    await bus.connect()
    lease = LeaseInLoop(store, settings.lease_seconds)
    lease.owner_id = process.name
    service = Service(
        definition.name,
        definition.parts(settings, subjects),
        bus=bus,
        store=store,
        lease=lease,
        subjects=subjects,
        clock=process,
        health=Health({}),
        stream_replicas=1,
        periods=Periods(timedelta(days=settings.history_days), timedelta(days=settings.ended_days)),
    )
    await service.run()


# members --------------------------------------------------------------------------------------------
async def open_here(
    kind: type[Connection], url: str, _: Any = None, *, hive: str = "hive", name: str | None = None, **__: Any
) -> Connection:
    """Instead of `Connection.open`: a line from the current process to the simulated server."""
    connection = kind(url, hive, name or "anonymous")
    connection._nats = _current.get().client()  # type: ignore[assignment]
    await connection._connect([url], None, None)
    return connection


async def cut(process: Process, seconds: float) -> None:
    """Break all connections of a process to NATS for a while."""
    clients = list(process.clients)
    for client in clients:
        await client.cut()
    await asyncio.sleep(seconds)
    for client in clients:
        with contextlib.suppress(asyncio.CancelledError):
            await client.restore()
