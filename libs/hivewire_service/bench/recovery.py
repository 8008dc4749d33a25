"""How long nobody answers for the broker after its process was killed, and after it froze while another stood by."""

import asyncio

import msgspec

from hivewire.client import Client
from hivewire.ids import new_id
from hivewire.subjects import BROKER
from hivewire_service.bench.hive import BenchHive
from hivewire_service.bench.noop import CAPABILITY, PAYLOAD
from hivewire_service.bench.size import Size

TASKS = 10_000
TASKS_QUICK = 1_000


class Recovery(msgspec.Struct, frozen=True):
    """The figures of a run, in seconds from the fault to the first reply after it."""

    tasks: int
    """Waiting ones, which a successor loads."""
    restart_s: float
    """The process was killed, and started again by its supervisor."""
    standby_s: float
    """The process was stopped by a signal, and the standby took over."""
    problems: list[str]


async def run(size: Size) -> Recovery:
    """Measure.

    Raises:
        HivewireError: the hive did not start, or refused a task.
    """
    tasks = size.tasks or (TASKS_QUICK if size.quick else TASKS)
    async with BenchHive.running() as hive, hive.client() as client:
        await client.submit_many([{"title": "waits", "needs": [CAPABILITY], "payload": PAYLOAD} for _ in range(tasks)])
        killed = hive.process_of(BROKER)
        killed.kill()
        restart_s = await _first_reply_s(client)
        frozen = hive.process_of(BROKER)
        standby = await hive.start_standby(BROKER)
        frozen.suspend()
        standby_s = await _first_reply_s(client)
        async with hive.postgres() as connection:
            owner = await connection.fetchval("SELECT owner FROM lease WHERE service = $1", BROKER)
            frozen.resume()
            await _first_reply_s(client)
            known = await connection.fetchval("SELECT count(*) FROM task")
    problems = [] if f":{standby}:" in owner else [f"{owner} is the owner, not the standby with pid {standby}"]
    if known != tasks + 3:
        problems.append(f"{known} tasks, should be {tasks + 3}")
    return Recovery(tasks, round(restart_s, 2), round(standby_s, 2), problems)


async def _first_reply_s(client: Client) -> float:
    """Seconds until a task submitted now is accepted."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    submit = {"id": new_id(), "title": "after the fault", "required_capabilities": [CAPABILITY]}
    await client.connection.command(BROKER, "submit", submit, msgspec.Raw, timeout_s=None)
    return loop.time() - begun
