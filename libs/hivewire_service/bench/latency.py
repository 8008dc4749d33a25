"""From submit to completed, at a steady rate.

The load is an open loop: each task has its moment, fixed in advance, and its latency counts from there. When the hive
or this process falls behind, all that is late shows.
"""

import asyncio
import time
from dataclasses import dataclass

import asyncpg
import msgspec

from hivewire.client import Client
from hivewire.errors import HivewireError
from hivewire.ids import new_id
from hivewire_service.bench import check
from hivewire_service.bench.completions import Completions
from hivewire_service.bench.figures import Distribution
from hivewire_service.bench.hive import BenchHive
from hivewire_service.bench.noop import CAPABILITY, PAYLOAD
from hivewire_service.bench.size import Size

RATE = 100
"""Tasks a second."""
SECONDS = 30
SECONDS_QUICK = 5
WARM_UP_S = 2
"""At the same rate before. These tasks are checked, and not counted."""
AGENTS = 4
SLOTS = 8


class Latency(msgspec.Struct, frozen=True):
    """The figures of a run."""

    tasks: int
    tasks_per_s: int
    agents: int
    completed: Distribution
    """Until the event of the completion was received, which is published after its commit."""
    recorded: Distribution
    """Until the time that Postgres has as the task's end, taken right before that commit."""
    accepted: Distribution
    """Until the reply to the submit, which is sent after its commit."""
    problems: list[str]


@dataclass(slots=True)
class _Sent:
    """A task with the moment at which it was due, and that of the reply, in the event loop's time."""

    task_id: str
    due: float
    accepted: float = 0.0


async def run(size: Size) -> Latency:
    """Measure.

    Raises:
        HivewireError: the hive did not start, or did nothing.
    """
    seconds = SECONDS_QUICK if size.quick else SECONDS
    warm_up, tasks = RATE * WARM_UP_S, RATE * (WARM_UP_S + seconds)
    async with BenchHive.running(AGENTS, SLOTS) as hive, hive.client() as client:
        async with Completions.heard(client, tasks) as completions:
            sent = (await _submit_steadily(client, tasks))[warm_up:]
            await completions.all()
        async with hive.postgres() as connection:
            ended = await _ended(connection)
            problems = await check.problems(connection, tasks)
    done = [each for each in sent if each.task_id in completions.at and each.task_id in ended]
    if not done:
        raise HivewireError("no task was completed: " + "; ".join(problems))
    return Latency(
        tasks=len(sent),
        tasks_per_s=RATE,
        agents=AGENTS,
        completed=Distribution.of([completions.at[each.task_id] - each.due for each in done]),
        recorded=Distribution.of([ended[each.task_id] - each.due for each in done]),
        accepted=Distribution.of([each.accepted - each.due for each in done]),
        problems=problems,
    )


async def _submit_steadily(client: Client, tasks: int) -> list[_Sent]:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    sent = [_Sent(new_id(), begin + number / RATE) for number in range(tasks)]
    async with asyncio.TaskGroup() as group:
        for each in sent:
            await asyncio.sleep(each.due - loop.time())
            group.create_task(_submit(client, each))
    return sent


async def _submit(client: Client, task: _Sent) -> None:
    await client.submit("no-op", id=task.task_id, needs=[CAPABILITY], payload=PAYLOAD)
    task.accepted = asyncio.get_running_loop().time()


async def _ended(connection: asyncpg.Connection) -> dict[str, float]:
    """When each task ended, in the event loop's time."""
    rows = await connection.fetch("SELECT task_id, ended_at FROM task WHERE status = 'completed'")
    behind = time.time() - asyncio.get_running_loop().time()
    return {row["task_id"]: row["ended_at"].timestamp() - behind for row in rows}
