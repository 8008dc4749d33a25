"""Reports about attempts that are not the reporter's: of a wrong agent, instance, attempt or task, alone and in batches."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from tests.integration.test_bad_input import World, command_envelope

from hivewire import codec
from hivewire.commands.broker import (
    Complete,
    CompleteReport,
    Fail,
    FailReport,
    Progress,
    ProgressReport,
    Report,
    ReportBatch,
    Start,
    StartReport,
)
from hivewire.subjects import BROKER

TASKS = 4
ENTRIES_MAX_PER_SECOND = 11
"""Of one sender: those that stand alone, and one for the rest of a minute."""


@dataclass
class Held:
    """Tasks that an agent works on, and what it is known by."""

    tasks: list[str]
    instance: str
    release: asyncio.Event


@asynccontextmanager
async def held(world: World) -> AsyncIterator[Held]:
    """Tasks in the hands of an agent, which are completed when the context ends."""
    agent, release, running = world.agent("holder"), asyncio.Event(), asyncio.Queue[str]()

    @agent.task
    async def hold(task, context) -> str:
        running.put_nowait(task.id)
        await release.wait()
        return "mine"

    async with agent, world.operator() as client:
        tasks = [await client.submit("hold", needs=["work"]) for _ in range(TASKS)]
        for _ in tasks:
            await asyncio.wait_for(running.get(), 20)
        yield Held([task.id for task in tasks], agent.instance, release)
        release.set()
        assert [await task.result(20) for task in tasks] == ["mine"] * TASKS


def forgeries(held: Held) -> Iterator[tuple[str, dict[str, Any]]]:
    """Who lies, and the fields that say what about, for ever."""
    while True:
        for task_id in held.tasks:
            yield "thief", {"task_id": task_id, "attempt": 1, "instance": held.instance}
            yield "holder", {"task_id": task_id, "attempt": 1, "instance": "another"}
            yield "holder", {"task_id": task_id, "attempt": 2, "instance": held.instance}
            yield "thief", {"task_id": "no-such-task", "attempt": 1, "instance": held.instance}


SINGLE: list[Callable[..., Any]] = [
    Start,
    lambda **about: Progress(**about, progress=0.5),
    lambda **about: Complete(**about, result=codec.raw("stolen")),
    lambda **about: Fail(**about, error="stolen", retry=False),
]
BATCHED: list[Callable[..., Report]] = [
    StartReport,
    lambda **about: ProgressReport(**about, progress=0.5),
    lambda **about: CompleteReport(**about, result=codec.raw("stolen")),
    lambda **about: FailReport(**about, error="stolen", retry=False),
]


async def send(world: World, held: Held, count: int, midway: Callable[[], None] = lambda: None) -> None:
    """Send so many forged reports, each once, half of them in batches of fifty; call `midway` amid them."""
    async with AsyncExitStack() as stack:
        clients = {}
        for name in ("thief", "holder"):
            clients[name] = await world.hive.connect("agent", name)
            stack.push_async_callback(clients[name].close)
        lies = forgeries(held)
        for number in range(count // 2):
            who, about = next(lies)
            report = SINGLE[number // 4 % 4](**about)
            verb = type(report).__name__.lower()
            body = command_envelope(f"{BROKER}.{verb}", codec.encode(report))
            await clients[who].publish(world.subjects.command(BROKER, verb, who), body)
            if number == count // 4:
                await clients[who].flush()
                midway()
        for _ in range(count // 200):
            batches: dict[str, list[Report]] = {"thief": [], "holder": []}
            for number in range(100):
                who, about = next(lies)
                batches[who].append(BATCHED[number // 4 % 4](**about))
            for who, reports in batches.items():
                body = command_envelope(f"{BROKER}.report_batch", codec.encode(ReportBatch(reports)))
                await clients[who].publish(world.subjects.command(BROKER, "report_batch", who), body)
        for client in clients.values():
            await client.flush()


async def settled(database: asyncpg.Connection) -> None:
    """Return when nothing more follows from what was sent before: what is held runs, and for the rest nobody was found."""
    async with asyncio.timeout(20):
        while await database.fetchval(
            "SELECT count(*) FILTER (WHERE status = 'running') < $1 OR bool_or(status = 'pending' AND NOT unmatched) "
            "OR bool_or(status = 'assigned') FROM task",
            TASKS,
        ):
            await asyncio.sleep(0.05)


async def state(database: asyncpg.Connection) -> dict[str, Any]:
    """All that reports could change."""
    tables = ("task", "attempt", "agent", "outcome")
    rows = {table: await database.fetch(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables}
    return rows | {"events": await database.fetch("SELECT type, entity_id, seq FROM event WHERE writer = 'broker'")}


async def kept(database: asyncpg.Connection) -> tuple[int, int]:
    """Refused reports, and the entries that tell of them."""
    row = await database.fetchrow("SELECT coalesce(sum(count), 0), count(*) FROM reject WHERE kind = 'report'")
    return int(row[0]), row[1]
