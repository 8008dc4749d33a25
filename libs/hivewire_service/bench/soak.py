"""Whether anything grows that should not, minute by minute, at half of what the hive can do."""

import asyncio

import asyncpg
import msgspec

from hivewire.client import Client
from hivewire.errors import HivewireError
from hivewire_service.bench import check, throughput
from hivewire_service.bench.completions import Completions
from hivewire_service.bench.figures import Distribution
from hivewire_service.bench.hive import BenchHive
from hivewire_service.bench.size import Size
from hivewire_service.bench.spending import memory_by_part
from hivewire_service.bench.steadily import submit_steadily

MINUTES = 15
MINUTE_S = 60
MINUTE_S_QUICK = 5
MINUTES_QUICK = 2
TASKS_FOR_MAXIMUM = 20_000
TASKS_FOR_MAXIMUM_QUICK = 2_000
SHARE_OF_MAXIMUM = 0.5
COMPARED = 1
"""The last minute is held against the second; in the first one caches fill."""

_SIZES = """
SELECT coalesce(parent.relname, class.relname) AS name,
       sum(pg_relation_size(class.oid)) / 1048576.0 AS table_mb,
       sum(pg_indexes_size(class.oid)) / 1048576.0 AS index_mb,
       sum(greatest(class.reltuples, 0)) AS rows
FROM pg_class AS class
LEFT JOIN pg_inherits ON inhrelid = class.oid
LEFT JOIN pg_class AS parent ON parent.oid = inhparent
WHERE class.relkind = 'r' AND class.relnamespace = current_schema()::regnamespace
GROUP BY 1
HAVING sum(pg_total_relation_size(class.oid)) > 1048576
ORDER BY sum(pg_total_relation_size(class.oid)) DESC
"""


class Minute(msgspec.Struct, frozen=True):
    """What was measured in one minute."""

    completed: Distribution
    memory_mb: dict[str, float]


class TableSize(msgspec.Struct, frozen=True):
    """A table with all of its partitions."""

    table_mb: float
    index_mb: float
    rows: int


class Soak(msgspec.Struct, frozen=True):
    """The figures of a run. Growth: the last minute's figure over the second one's."""

    tasks: int
    tasks_per_s: int
    p99_growth: float
    memory_growth: dict[str, float]
    minutes: list[Minute]
    tables: dict[str, TableSize]
    problems: list[str]


async def run(size: Size) -> Soak:
    """Measure.

    Raises:
        HivewireError: the hive did not start, or did nothing.
    """
    count = round(size.minutes) if size.minutes else MINUTES_QUICK if size.quick else MINUTES
    minute_s = MINUTE_S_QUICK if size.quick else MINUTE_S
    probe = TASKS_FOR_MAXIMUM_QUICK if size.quick else TASKS_FOR_MAXIMUM
    async with BenchHive.running(throughput.AGENTS, throughput.SLOTS) as hive, hive.client() as client:
        took_s, _ = await throughput.do(client, probe)
        tasks_per_s = round(SHARE_OF_MAXIMUM * probe / took_s)
        minutes = [await _minute(hive, client, tasks_per_s, minute_s) for _ in range(count)]
        tasks = probe + count * minute_s * tasks_per_s
        async with hive.postgres() as connection:
            problems = await check.miscounted(connection, tasks)
            tables = await _sizes(connection)
    first, last = minutes[min(COMPARED, count - 1)], minutes[-1]
    return Soak(
        tasks=tasks,
        tasks_per_s=tasks_per_s,
        p99_growth=round(last.completed.p99_ms / first.completed.p99_ms, 2),
        memory_growth={part: round(last.memory_mb[part] / mb, 2) for part, mb in first.memory_mb.items() if mb},
        minutes=minutes,
        tables=tables,
        problems=problems,
    )


async def _minute(hive: BenchHive, client: Client, tasks_per_s: int, seconds: int) -> Minute:
    tasks = tasks_per_s * seconds
    async with Completions.heard(client, tasks) as completions:
        sent = await submit_steadily(client, tasks, tasks_per_s)
        await completions.all()
    done = [completions.at[each.task_id] - each.due for each in sent if each.task_id in completions.at]
    if not done:
        raise HivewireError("no task was completed")
    return Minute(Distribution.of(done), await asyncio.to_thread(memory_by_part, hive))


async def _sizes(connection: asyncpg.Connection) -> dict[str, TableSize]:
    await connection.execute("ANALYZE")
    return {
        row["name"]: TableSize(round(float(row["table_mb"]), 1), round(float(row["index_mb"]), 1), int(row["rows"]))
        for row in await connection.fetch(_SIZES)
    }
