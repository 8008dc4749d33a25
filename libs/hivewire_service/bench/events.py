"""How many events from outside a second, in bursts of which a part is published twice; and whether each is there once."""

import asyncio

import msgspec

from hivewire import codec
from hivewire.client import Client
from hivewire.commands.agent_gateway import Publish
from hivewire.events.log import LogEntry
from hivewire.replies import outcome
from hivewire.subjects import AGENT_GATEWAY
from hivewire_service.bench.hive import BenchHive
from hivewire_service.bench.size import Size

EVENTS = 100_000
EVENTS_QUICK = 5_000
BURST = 5_000
REPEATED = 100
"""One in so many is published twice."""


class Events(msgspec.Struct, frozen=True):
    """The figures of a run."""

    events: int
    events_per_s: float
    """From the first publish to the last reply, which is sent after the commit."""
    problems: list[str]


async def run(size: Size) -> Events:
    """Measure.

    Raises:
        HivewireError: the hive did not start, or refused an event.
    """
    count = EVENTS_QUICK if size.quick else EVENTS
    async with BenchHive.running() as hive:
        async with hive.client() as client:
            took_s = await _publish(client, count)
        async with hive.postgres() as connection:
            recorded = await connection.fetchval("SELECT count(*) FROM event WHERE type = $1", LogEntry.type)
    problems = [] if recorded == count else [f"{recorded} of {count} events are in history"]
    return Events(events=count, events_per_s=round(count / took_s, 1), problems=problems)


async def _publish(client: Client, count: int) -> float:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for start in range(0, count, BURST):
        numbers = range(start, min(start + BURST, count))
        twice = [number for number in numbers if number % REPEATED == 0]
        posted = [client.connection.post(AGENT_GATEWAY, "publish", _event(n)) for n in (*numbers, *twice)]
        for answer in await asyncio.gather(*posted):
            outcome(answer, msgspec.Raw)
    return loop.time() - begun


def _event(number: int) -> Publish:
    data = codec.raw(LogEntry(process_id="bench", data=f"line {number}"))
    return Publish(type=LogEntry.type, data=data, id=f"event-{number}")
