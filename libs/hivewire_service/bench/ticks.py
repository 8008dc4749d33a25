"""How many ticks a second a simulation of 1,000 agents and 10,000 edges does, in memory and persisted, and whether a
tick gets dearer as the history grows."""

import asyncio
import sys
import time

import asyncpg
import msgspec
import psutil

from hivewire.client import Client
from hivewire.errors import HivewireError
from hivewire.subjects import TICK_ENGINE
from hivewire_service.bench.hive import BenchHive
from hivewire_service.bench.rehearsal import ACTIVE, TICKS_COMPARED, rehearsal
from hivewire_service.bench.size import Size
from hivewire_service.bench.spending import cpu_s

TICKS = 10_000
TICKS_QUICK = 2_000
IN_MEMORY = "hivewire_tick_engine.bench"
"""Run as a program of its own: the chassis does not know the services."""
SIMULATION = "bench"


STORED = """
SELECT blks_hit + blks_read AS blocks, pg_current_wal_insert_lsn() - '0/0' AS log_bytes
FROM pg_stat_database
WHERE datname = current_database()
"""


PUBLISHED = "SELECT published_seq = event_seq FROM position WHERE service = $1"
PAUSE_S = 0.2


class Ticks(msgspec.Struct, frozen=True):
    """The figures of a run. Growth: what the last 1,000 ticks took over what the first 1,000 took; of the engine that is
    the processor time of its process, of Postgres the blocks that were looked at and the bytes of its log."""

    ticks: int
    messages: int
    in_memory_ticks_per_s: float
    in_memory_messages_per_s: float
    in_memory_growth: float
    persisted_ticks_per_s: float
    persisted_messages_per_s: float
    persisted_growth: float
    blocks_per_tick: float
    blocks_growth: float
    log_bytes_per_tick: float
    log_growth: float
    problems: list[str]


class Course(msgspec.Struct):
    """What each thousand ticks took: seconds, and seconds of processor time."""

    seconds: list[float] = []
    cpu_s: list[float] = []
    blocks: list[float] = []
    log_bytes: list[float] = []

    @property
    def ticks_per_s(self) -> float:
        return round(len(self.seconds) * TICKS_COMPARED / sum(self.seconds), 1)

    @property
    def growth(self) -> float:
        return growth(self.cpu_s)


def growth(taken: list[float]) -> float:
    """What the last thousand took, over what the first took."""
    return round(taken[-1] / taken[0], 3)


async def run(size: Size) -> Ticks:
    """Measure.

    Raises:
        HivewireError: the hive did not start, or a simulation could not be run.
    """
    ticks = TICKS_QUICK if size.quick else TICKS
    in_memory = await _in_memory(ticks)
    async with BenchHive.running() as hive, hive.client() as client:
        persisted = await _persisted(client, hive, ticks)
        problems = await _problems(client, ticks)
    return Ticks(
        ticks=ticks,
        messages=ticks * ACTIVE,
        in_memory_ticks_per_s=in_memory.ticks_per_s,
        in_memory_messages_per_s=in_memory.ticks_per_s * ACTIVE,
        in_memory_growth=in_memory.growth,
        persisted_ticks_per_s=persisted.ticks_per_s,
        persisted_messages_per_s=persisted.ticks_per_s * ACTIVE,
        persisted_growth=persisted.growth,
        blocks_per_tick=round(sum(persisted.blocks) / ticks, 1),
        blocks_growth=growth(persisted.blocks),
        log_bytes_per_tick=round(sum(persisted.log_bytes) / ticks),
        log_growth=growth(persisted.log_bytes),
        problems=problems,
    )


async def _in_memory(ticks: int) -> Course:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", IN_MEMORY, str(ticks), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise HivewireError(f"the simulation in memory ended with status {process.returncode}")
    return msgspec.json.decode(said, type=Course)


async def _persisted(client: Client, hive: BenchHive, ticks: int) -> Course:
    """Ticks of a real hive."""
    engine = _engine(psutil.Process(hive.pid))
    await client.simulations.create(rehearsal(), simulation_id=SIMULATION)
    await client.simulations.start(SIMULATION)
    course = Course()
    async with hive.postgres() as postgres:
        for _ in range(ticks // TICKS_COMPARED):
            begun, cpu_begun, (blocks, log_bytes) = time.perf_counter(), cpu_s(engine), await _stored(postgres)
            await client.simulations.tick(SIMULATION, TICKS_COMPARED)
            course.seconds.append(time.perf_counter() - begun)
            await _published(postgres)
            course.cpu_s.append(cpu_s(engine) - cpu_begun)
            blocks_now, log_bytes_now = await _stored(postgres)
            course.blocks.append(blocks_now - blocks)
            course.log_bytes.append(log_bytes_now - log_bytes)
    return course


async def _published(postgres: asyncpg.Connection) -> None:
    """Wait until the events are on the bus too: that is a part of what their ticks cost."""
    while not await postgres.fetchval(PUBLISHED, TICK_ENGINE):  # noqa: ASYNC110 - another process says so
        await asyncio.sleep(PAUSE_S)


async def _stored(postgres: asyncpg.Connection) -> tuple[float, float]:
    """Blocks that Postgres has looked at, and bytes that it has written to its log."""
    row = await postgres.fetchrow(STORED)
    assert row is not None
    return float(row["blocks"]), float(row["log_bytes"])


def _engine(up: psutil.Process) -> psutil.Process:
    """The process of the tick engine."""
    return next(process for process in up.children(recursive=True) if process.cmdline()[-2:] == ["serve", TICK_ENGINE])


async def _problems(client: Client, ticks: int) -> list[str]:
    """What a replay of the whole run finds."""
    replayed = await client.simulations.replay(SIMULATION)
    if replayed.difference is not None:
        return [f"tick {replayed.difference.tick} differs when it is replayed"]
    return [] if replayed.ticks == ticks else [f"{replayed.ticks} ticks are recorded, {ticks} were done"]
