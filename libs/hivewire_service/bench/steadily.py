"""Submits tasks at a steady rate, whatever becomes of them.

The load is an open loop: each task has its moment, fixed in advance, and its latency counts from there. When the hive
or this process falls behind, all that is late shows.
"""

import asyncio
from dataclasses import dataclass

from hivewire.client import Client
from hivewire_service.bench.noop import CAPABILITY, PAYLOAD


@dataclass(slots=True)
class Sent:
    """A task with the moment at which it was due, and that of the reply, in the event loop's time."""

    due: float
    task_id: str = ""
    accepted: float = 0.0


async def submit_steadily(client: Client, tasks: int, tasks_per_s: float) -> list[Sent]:
    """Submit so many tasks; returns when all of them are accepted."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    sent = [Sent(begin + number / tasks_per_s) for number in range(tasks)]
    async with asyncio.TaskGroup() as group:
        for each in sent:
            await asyncio.sleep(each.due - loop.time())
            group.create_task(_submit(client, each))
    return sent


async def _submit(client: Client, task: Sent) -> None:
    handle = await client.submit("no-op", needs=[CAPABILITY], payload=PAYLOAD)
    task.task_id = handle.id
    task.accepted = asyncio.get_running_loop().time()
