"""Breaks parts of a hive while a fleet works, and counts what was lost or done twice.

The load is an open loop: tasks are submitted at a steady pace, whatever happens to the hive. Strikes come at moments that
a seed decides. After each, a probe measures how long it takes until every service answers and a new task is completed.
"""

import asyncio
import contextlib
import importlib
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import nats

from e2e.up import Up
from faults import legality
from faults.strikes import Fault
from hivewire import Agent, Client, codec
from hivewire.context import Context
from hivewire.envelope import Envelope
from hivewire.errors import NotReachable
from hivewire.ids import new_id
from hivewire.reads import Listing
from hivewire.subjects import Subjects, reply_prefix
from hivewire.views import Page
from hivewire_service.supervisor import SERVICES

AGENTS = 4
SLOTS = 16
WORK_S_MAX = 0.05
PATIENCE_S = 120.0

Fleet = Callable[[Up, "Counter[str]"], AbstractAsyncContextManager[None]]
"""Agents that can `work`, for as long as the context lasts; each run of a task is counted, where that can be seen."""

FOLDS = [importlib.import_module(f"hivewire_{service.replace('-', '_')}.fold") for service in SERVICES]


def agents_here(context: Callable[[Up], Context] = lambda up: up.context) -> Fleet:
    """Agents in the process of the test, which no strike hits. `context` is how they find the hive."""

    @asynccontextmanager
    async def fleet(up: Up, runs: "Counter[str]") -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for number in range(AGENTS):
                agent = Agent(f"worker-{number}", can=["work"], slots=SLOTS, context=context(up))

                @agent.task
                async def work(task, _context) -> None:
                    runs[task.id] += 1
                    await asyncio.sleep(task.payload)

                await stack.enter_async_context(agent)
            yield

    return fleet


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
    unended: int = 0
    """Accepted and, after all patience, in no final state."""
    illegal: list[str] = field(default_factory=list)
    """Events that the transition tables do not allow where they are."""
    differences: list[str] = field(default_factory=list)
    """Where the rows are not what the events add up to."""
    recovery_s: list[float] = field(default_factory=list)

    @property
    def damage(self) -> dict[str, object]:
        """All that should not be, by name."""
        wrong = ("lost", "doubled", "repeated", "agents_lost", "unpublished", "unended", "illegal", "differences")
        return {name: getattr(self, name) for name in wrong if getattr(self, name)}

    def recovery(self, share: float) -> float:
        """The time that this share of the recoveries did not exceed."""
        ordered = sorted(self.recovery_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Run:
    """One run: a fleet, a load, and faults at random moments.

    Args:
        up: the hive, which runs.
        faults: what strikes, in this order.
        tasks, per_second: the load, beside the probes. It goes on until the last strike.
        seed: decides the moments, and how long each task takes.
        overlapping: strikes come at their moments; else each comes after the hive has recovered from the one before.
        fleet: who works.
    """

    def __init__(
        self,
        up: Up,
        faults: Sequence[Fault],
        *,
        tasks: int,
        per_second: float,
        seed: int,
        overlapping: bool = False,
        fleet: Fleet | None = None,
    ) -> None:
        chance = random.Random(seed)
        self.tasks, self.strikes = tasks, len(faults)
        self._up = up
        self._per_second = per_second
        self._work_s = [chance.uniform(0, WORK_S_MAX) for _ in range(tasks)]
        moments = sorted(chance.uniform(0, tasks / per_second) for _ in faults)
        self._strikes = list(zip(moments, faults, strict=True))
        self._overlapping = overlapping
        self._fleet = fleet or agents_here()
        self._accepted: list[str] = []
        self._runs: Counter[str] = Counter()
        self.outcome = Outcome(", ".join(dict.fromkeys(fault.name for fault in faults)), seed)

    async def result(self) -> Outcome:
        """Do it, and count."""
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(self._up.client())
            await stack.enter_async_context(self._fleet(self._up, self._runs))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._load(client))
                group.create_task(self._break(client))
            await self._until_all_ended()
            database = await stack.enter_async_context(self._up.database())
            await self._count(database)
        return self.outcome

    async def _until_all_ended(self) -> None:
        """Wait as long as tasks still end; what is left after that is counted as not ended."""
        left, ended_s = len(self._accepted), time.monotonic()
        async with self._up.database() as database:
            while left:
                now_left = await database.fetchval(_OPEN, self._accepted)
                if now_left < left or not now_left:
                    left, ended_s = now_left, time.monotonic()
                if time.monotonic() - ended_s > PATIENCE_S:
                    break
                await asyncio.sleep(0.1)
        self.outcome.unended = left

    async def _load(self, client: Client) -> None:
        """Submit at the pace; an outage holds up only those that wait for their answer. No strike falls into silence."""
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, work_s in enumerate(itertools.cycle(self._work_s)):
                if number >= self.tasks and self.outcome.strikes == self.strikes:
                    break
                self.tasks = max(self.tasks, number + 1)
                await asyncio.sleep(begun + number / self._per_second - time.monotonic())
                group.create_task(self._submit(client, work_s))

    async def _submit(self, client: Client, work_s: float) -> str:
        key = new_id()
        while True:
            with contextlib.suppress(NotReachable):  # whether it was taken is unknown, and asked with the same key
                task = await client.submit("work", needs=["work"], payload=work_s, idempotency_key=key)
                self._accepted.append(task.id)
                return task.id

    async def _break(self, client: Client) -> None:
        """Strike at the moments drawn."""
        begun = time.monotonic()
        async with asyncio.TaskGroup() as probes:
            for moment, fault in self._strikes:
                await asyncio.sleep(begun + moment - time.monotonic())
                await asyncio.to_thread(fault.strike, self._up)
                self.outcome.strikes += 1
                probe = probes.create_task(self._probe(client))
                if not self._overlapping:
                    await probe

    async def _probe(self, client: Client) -> None:
        """How long it takes until all is well. Further strikes may come meanwhile: only the test's own time is a bound."""
        struck = time.monotonic()
        for service in SERVICES:
            await client.connection.read(service, "rejects", Listing(1), Page, timeout_s=None)
        await client.ended(await self._submit(client, 0))
        self.outcome.recovery_s.append(time.monotonic() - struck)

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
        outcome.illegal = await legality.violations(database)
        outcome.differences = [line for fold in FOLDS for line in await fold.differences(database)]

    async def _unpublished(self, database: asyncpg.Connection) -> set[tuple[str, int]]:
        """Writer and number of each event that is not on the bus when the services say that all are."""
        async with asyncio.timeout(PATIENCE_S):
            while await database.fetchval("SELECT count(*) FROM position WHERE published_seq < event_seq"):
                await asyncio.sleep(0.1)
        written = {(row["writer"], row["seq"]) for row in await database.fetch("SELECT writer, seq FROM event")}
        return written - await _on_the_bus(self._up)


_OPEN = """
SELECT count(*) FROM unnest($1::text[]) AS asked (task_id) LEFT JOIN task USING (task_id)
WHERE status IS NULL OR status NOT IN ('completed', 'failed', 'dead_lettered', 'cancelled')
"""


async def survives(up: Up, run: Run, *, tolerated: Iterable[str] = ()) -> None:
    """Let a run happen on a fresh hive, and see that nothing is wrong afterwards but what is tolerated by name."""
    up.start()
    try:
        outcome = await run.result()
    finally:
        up.stop(patience_s=PATIENCE_S)  # how fast it stops is not what is tried here
    damage = {name: what for name, what in outcome.damage.items() if name not in tolerated}
    assert not damage, damage
    assert (outcome.tasks, outcome.strikes) == (run.tasks + run.strikes, run.strikes)


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
