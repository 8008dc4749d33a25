"""A whole hive in one process, from one seed: the real services and agents on simulated servers, while things go wrong.

Real are: the loop with its store, bus, readers, outbox and lease; all four services with their tables' SQL; the SDK's
connections and agents. Simulated are: nats-server, Postgres, the network, the clock, and chance.
"""

import asyncio
import hashlib
import logging
import random
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from unittest.mock import patch
from uuid import UUID

import uuid_utils
from structlog.testing import capture_logs

import hivewire_agent_gateway.fold
import hivewire_agent_gateway.main
import hivewire_broker.fold
import hivewire_broker.main
import hivewire_conversation.fold
import hivewire_conversation.main
import hivewire_tick_engine.fold
import hivewire_tick_engine.main
from hivewire.connection import Connection
from hivewire.errors import HivewireError
from hivewire_service.settings import Settings
from simulation import faults, workload
from simulation.nats.client import Network
from simulation.nats.server import NatsServer
from simulation.oracle import Oracle
from simulation.postgres.database import Database, Session
from simulation.processes import NumberedTask, Process, make_task, moment, open_here, serve
from simulation.virtual_time import EPOCH_S, VirtualLoop, instead_of_the_machines

TRACE_LINES = 60
TROUBLE_S = 25.0
"""How long things go wrong."""
CALM_S_MAX = 900.0
"""By then everything must have come to an end."""
SERVICES = (
    hivewire_broker.main.DEFINITION,
    hivewire_agent_gateway.main.DEFINITION,
    hivewire_conversation.main.DEFINITION,
    hivewire_tick_engine.main.DEFINITION,
)
FOLDS = (hivewire_broker.fold, hivewire_agent_gateway.fold, hivewire_conversation.fold, hivewire_tick_engine.fold)


class Failed(AssertionError):
    """A seed that shows a defect."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a seed came to. The same seed has the same `digest`, which covers every step of everybody."""

    seed: int
    digest: str
    steps: int
    figures: dict[str, int]


class Hive:
    """The machine that all processes of a seed run on."""

    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        self.seed = seed
        self.loop = loop
        self.chance = random.Random(seed)
        self.steps = 0
        self.deaths: dict[int, None] = {}
        """Steps at which whoever takes them is killed."""
        self.way_lost = 0.0
        """Chance that a way to Postgres or back breaks."""
        self.settings = Settings(lease_seconds=3.0)
        self.server = NatsServer(loop, lambda: EPOCH_S + loop.time())
        self.network = Network(loop, self.server, random.Random(f"{seed} network"))
        self.database = Database(lambda: moment(loop))
        self.agents = workload.agents(self.chance)
        self.oracle = Oracle(self.database, {agent.agent_id: agent.slots for agent in self.agents})
        self.server.on_stored = self.oracle.stored
        self.processes: dict[str, Process] = {}
        self.errors: list[str] = []
        self._digest = hashlib.blake2b(digest_size=16)
        self._trace: deque[str] = deque(maxlen=TRACE_LINES)

    # what processes see of the machine --------------------------------------------------------------
    def note(self, who: str, what: str) -> None:
        """Take a step down."""
        self.steps += 1
        line = f"{self.loop.time():.6f} {who}: {what}"
        self._digest.update(line.encode())
        self._trace.append(line)

    def dies_here(self, process: Process) -> bool:
        """Clients live: somebody has to know what was accepted."""
        return self.deaths.pop(self.steps, 0) is None and not process.name.startswith("client")

    async def on_the_way(self, *, back: bool) -> None:
        """Takes a little while; may break."""
        await asyncio.sleep(self.chance.random() * 0.004)
        if self.way_lost and self.chance.random() < self.way_lost:
            raise ConnectionResetError(f"the way {'back from' if back else 'to'} postgres broke")

    def died(self, process: Process, error: BaseException) -> None:
        """Agents end when they are replaced or refused; no service ends by itself."""
        self.note(process.name, f"ends: {type(error).__name__}: {error}")
        if not (process.name.startswith("agent ") and isinstance(error, HivewireError)):
            self.errors.append(f"{process.name} ended: {''.join(traceback.format_exception(error))}")

    # the run ----------------------------------------------------------------------------------------
    def add(self, name: str, program: Callable[[Process], Awaitable[None]]) -> Process:
        """A process, not started yet."""
        process = self.processes[name] = Process(self, name, program)
        return process

    async def run(self) -> Outcome:
        """Everything that a seed brings.

        Raises:
            Failed: something does not hold.
        """
        for definition in SERVICES:
            for number in range(1 + (self.chance.random() < 0.4)):
                self.add(f"{definition.name} {number}", lambda p, d=definition: serve(p, d, self.settings)).start()
        for agent in self.agents:
            self.add(f"agent {agent.agent_id}", lambda p, a=agent: workload.work(p, a, self.seed)).start()
        tasks = workload.plan(self.chance)
        clients = [
            asyncio.ensure_future(workload.send(self.add(f"client {number}", workload.nothing), self, tasks[number::2]))
            for number in range(2)
        ]
        await self._troubled(asyncio.ensure_future(faults.trouble(self, TROUBLE_S)))
        await self._until(lambda: all(client.done() for client in clients), "commands without a reply")
        for client in clients:
            self._well(client)
        closing = asyncio.ensure_future(workload.close(self))
        await self._until(lambda: closing.done() and not self.oracle.unfinished(), "accepted tasks without an end")
        self._well(closing)
        await self._until(lambda: not self.oracle.open_sessions(), "accepted sessions without an end")
        await self._until(lambda: not self.oracle.unpublished(), "events that never were on the bus")
        await self._compare()
        return Outcome(self.seed, self._digest.hexdigest(), self.steps, self.oracle.told())

    async def end(self) -> None:
        """End whatever still runs."""
        for process in self.processes.values():
            process.retire()
        while left := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
            for task in left:
                task.cancel()
            await asyncio.sleep(1)

    async def _troubled(self, trouble: "asyncio.Future[None]") -> None:
        while not trouble.done():
            await asyncio.sleep(0.5)
            self._check()
        self._well(trouble)

    async def _until(self, condition: Callable[[], bool], missing: str) -> None:
        until = self.loop.time() + CALM_S_MAX
        while not condition():
            if self.loop.time() > until:
                raise Failed(f"{missing}: {self._unfinished()}\n{self.story()}")
            await asyncio.sleep(0.5)
            self._check()

    def _well(self, done: "asyncio.Future[None]") -> None:
        if (error := done.exception()) is not None:
            raise Failed(f"{''.join(traceback.format_exception(error))}\n{self.story()}")

    def _unfinished(self) -> list[object]:
        tasks = self.database.rows_of("task")
        shown = (
            "task_id",
            "status",
            "attempt",
            "agent_id",
            "blocked_by",
            "retry_at",
            "reason",
            "depends_on",
            "phase_id",
            "queued",
            "concurrency_key",
            "unmatched",
        )
        return [{name: tasks[task_id,][name] for name in shown} for task_id in self.oracle.unfinished()]

    def _check(self) -> None:
        found = self.oracle.violations + self.errors
        if found:
            raise Failed(f"{found[0]}\n{self.story()}")

    async def _compare(self) -> None:
        for fold in FOLDS:
            different = await fold.differences(Session(self.database))  # type: ignore[arg-type]
            if different:
                raise Failed(f"{fold.__name__}: {different[:5]}\n{self.story()}")

    def story(self) -> str:
        """The end of the trace."""
        return "\n".join([f"seed {self.seed}, step {self.steps}:", *self._trace])


def run(seed: int, kind: type[Hive] = Hive) -> Outcome:
    """Run a seed.

    Raises:
        Failed: something does not hold; the text tells the seed and its last steps.
    """
    loop = VirtualLoop()
    loop.set_task_factory(make_task)
    loop.set_exception_handler(lambda *_: None)  # who is killed leaves errors behind that nobody reads
    NumberedTask._last = 0
    try:
        with _simulated(seed, loop):
            hive = kind(seed, loop)
            try:
                return loop.run_until_complete(hive.run())
            finally:
                loop.run_until_complete(hive.end())
    finally:
        loop.close()


def run_lot(seeds: range) -> tuple[int, list[str]]:
    """The steps of some seeds together, and what they found."""
    steps, found = 0, []
    with capture_logs():
        for seed in seeds:
            try:
                steps += run(seed).steps
            except Failed as failed:
                found.append(str(failed))
    return steps, found


@contextmanager
def _simulated(seed: int, loop: VirtualLoop) -> Iterator[None]:
    """Time, chance and the ways to the servers are ours."""
    chance = random.Random(f"{seed} ids")
    level = logging.getLogger("hivewire").level
    with ExitStack() as stack:
        stack.enter_context(instead_of_the_machines(loop))
        stack.enter_context(patch("hivewire.ids.uuid_utils", _Ids(chance)))
        stack.enter_context(patch.object(Connection, "open", classmethod(open_here)))
        stack.enter_context(patch("hivewire_agent_gateway.aftermath.Outbound", _NoOutbound))
        stack.enter_context(
            patch("hivewire_service.service.gc")
        )  # each owner's collection would take longer than it lives
        logging.getLogger("hivewire").setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logging.getLogger("hivewire").setLevel(level)


class _Ids(SimpleNamespace):
    """uuid_utils with ids that the seed draws."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(uuid5=uuid_utils.uuid5, UUID=uuid_utils.UUID)
        self._chance = chance

    def uuid7(self) -> UUID:
        return UUID(int=self._chance.getrandbits(128))


class _NoOutbound:
    """There are no HTTP agents and no webhooks."""

    @classmethod
    def of(cls, _: object) -> "_NoOutbound":
        """Takes what the real one takes."""
        return cls()

    async def close(self) -> None:
        """Nothing is open."""
