"""Kills parts of a hive while a fleet works, and counts what was lost or done twice.

The load is an open loop: tasks are submitted at a steady pace, whatever happens to the hive. Kills come at moments that
a seed decides. After each, a probe measures how long it takes until every service answers and a new task is completed.
"""

import asyncio
import importlib
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import asyncpg
import nats

from e2e.up import Up
from hivewire import Agent, Client, codec
from hivewire.envelope import Envelope
from hivewire.reads import Listing
from hivewire.subjects import Subjects, reply_prefix
from hivewire.views import Page
from hivewire_service.supervisor import SERVICES

AGENTS = 4
SLOTS = 16
WORK_S_MAX = 0.05
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Fault:
    """A way to break a running hive. The supervisor brings back what ended."""

    name: str
    strike: Callable[[Up], None]


def killed(process: str) -> Fault:
    """SIGKILL to one of the hive's processes."""
    return Fault(f"{process} killed", lambda up: up.service(process).kill())


def paused(process: str, seconds: float) -> Fault:
    """One of the hive's processes stands still for a while, as in a virtual machine that is moved."""

    def pause(up: Up) -> None:
        victim = up.service(process)
        victim.suspend()
        time.sleep(seconds)
        victim.resume()

    return Fault(f"{process} paused {seconds:g} s", pause)


def _lose_streams(up: Up) -> None:
    """Delete JetStream's files while nats-server is down: paused first, so that it cannot write them again."""
    server = up.service("nats-server")
    server.suspend()
    shutil.rmtree(up.data / "nats" / "jetstream")
    server.kill()


PROCESSES = (*SERVICES, "nats-server", "postgres")
BREAKS = (*map(killed, PROCESSES), Fault("streams deleted", _lose_streams))
FOLDS = [importlib.import_module(f"hivewire_{service.replace('-', '_')}.fold") for service in SERVICES]


@dataclass
class Outcome:
    """What became of a run's tasks, agents and events. Recovery times are in seconds."""

    fault: str
    seed: int
    strikes: int = 0
    tasks: int = 0
    lost: int = 0
    doubled: int = 0
    """Completed more than once in history."""
    repeated: int = 0
    """Worked on more than once, although its agent never ended."""
    agents_lost: int = 0
    unpublished: int = 0
    """Events that are in history and not on the bus."""
    differences: list[str] = field(default_factory=list)
    """Where the rows are not what the events add up to."""
    recovery_s: list[float] = field(default_factory=list)

    @property
    def damage(self) -> dict[str, object]:
        """All that should not be, by name."""
        wrong = ("lost", "doubled", "repeated", "agents_lost", "unpublished", "differences")
        return {name: getattr(self, name) for name in wrong if getattr(self, name)}

    def recovery(self, share: float) -> float:
        """The time that this share of the recoveries did not exceed."""
        ordered = sorted(self.recovery_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Run:
    """One run: a fleet, a load, and faults at random moments."""

    def __init__(self, up: Up, faults: Sequence[Fault], *, tasks: int, per_second: float, seed: int) -> None:
        chance = random.Random(seed)
        self._up = up
        self._per_second = per_second
        self._work_s = [chance.uniform(0, WORK_S_MAX) for _ in range(tasks)]
        moments = sorted(chance.uniform(0, tasks / per_second) for _ in faults)
        self._strikes = list(zip(moments, faults, strict=True))
        self._accepted: list[str] = []
        self._runs: Counter[str] = Counter()
        self.outcome = Outcome(", ".join(dict.fromkeys(fault.name for fault in faults)), seed)

    async def result(self) -> Outcome:
        """Do it, and count."""
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(self._up.client())
            for number in range(AGENTS):
                await stack.enter_async_context(self._agent(f"worker-{number}"))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._load(client))
                group.create_task(self._break(client))
            for task_id in self._accepted:
                await client.ended(task_id, PATIENCE_S)
            database = await stack.enter_async_context(self._up.database())
            await self._count(database)
        return self.outcome

    def _agent(self, name: str) -> Agent:
        agent = Agent(name, can=["work"], slots=SLOTS, context=self._up.context)

        @agent.task
        async def work(task, context) -> None:
            self._runs[task.id] += 1
            await asyncio.sleep(task.payload)

        return agent

    async def _load(self, client: Client) -> None:
        """Submit at the pace; an outage holds up only those that wait for their answer."""
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, work_s in enumerate(self._work_s):
                await asyncio.sleep(begun + number / self._per_second - time.monotonic())
                group.create_task(self._submit(client, work_s))

    async def _submit(self, client: Client, work_s: float) -> str:
        task = await client.submit("work", needs=["work"], payload=work_s)
        self._accepted.append(task.id)
        return task.id

    async def _break(self, client: Client) -> None:
        """Strike at the moments drawn, each time after the hive has come back from the time before."""
        begun = time.monotonic()
        for moment, fault in self._strikes:
            await asyncio.sleep(begun + moment - time.monotonic())
            await asyncio.to_thread(fault.strike, self._up)
            self.outcome.strikes += 1
            self.outcome.recovery_s.append(await self._recovery_s(client))

    async def _recovery_s(self, client: Client) -> float:
        struck = time.monotonic()
        for service in SERVICES:
            await client.connection.read(service, "rejects", Listing(1), Page)
        await client.ended(await self._submit(client, 0), PATIENCE_S)
        return time.monotonic() - struck

    async def _count(self, database: asyncpg.Connection) -> None:
        outcome = self.outcome
        rows = await database.fetch("SELECT entity_id, count(*) FROM event WHERE type = 'task.completed' GROUP BY 1")
        completions = {row["entity_id"]: row["count"] for row in rows}
        outcome.tasks = len(self._accepted)
        outcome.lost = sum(task_id not in completions for task_id in self._accepted)
        outcome.doubled = sum(count > 1 for count in completions.values())
        outcome.repeated = sum(count > 1 for count in self._runs.values())
        outcome.agents_lost = await database.fetchval("SELECT count(*) FROM event WHERE type = 'agent.crashed'")
        outcome.unpublished = len(await self._unpublished(database))
        outcome.differences = [line for fold in FOLDS for line in await fold.differences(database)]

    async def _unpublished(self, database: asyncpg.Connection) -> set[tuple[str, int]]:
        """Writer and number of each event that is not on the bus when the services say that all are."""
        async with asyncio.timeout(PATIENCE_S):
            while await database.fetchval("SELECT count(*) FROM position WHERE published_seq < event_seq"):
                await asyncio.sleep(0.1)
        written = {(row["writer"], row["seq"]) for row in await database.fetch("SELECT writer, seq FROM event")}
        return written - await _on_the_bus(self._up)


async def _on_the_bus(up: Up) -> set[tuple[str, int]]:
    """Writer and number of each event in the event stream."""
    subjects = Subjects(up.context.hive)
    service = str(up.data / "credentials" / "service.creds")
    bus = await nats.connect(up.context.nats_url, user_credentials=service, inbox_prefix=reply_prefix("service"))
    try:
        streams = bus.jetstream()
        count = (await streams.stream_info(subjects.event_stream)).state.messages
        reading = await streams.subscribe(subjects.stored_events(), stream=subjects.event_stream, ordered_consumer=True)
        envelopes = [codec.decode_envelope((await reading.next_msg(10)).data) for _ in range(count)]
    finally:
        await bus.close()
    return {(event.source.rpartition("/")[2], event.seq) for event in envelopes if isinstance(event, Envelope)}
