"""What goes wrong, drawn by the seed."""

import asyncio
import random
from typing import TYPE_CHECKING

from simulation.nats.client import Weather
from simulation.processes import Process, cut

if TYPE_CHECKING:
    from simulation.hive import Hive

PAUSE_S = (0.1, 5.0)
"""Some pauses are longer than a lease lasts, some are not."""


async def trouble(hive: "Hive", seconds: float) -> None:
    """Let things go wrong for a while, one after the other and several at once."""
    chance = hive.chance
    until = hive.loop.time() + seconds
    kinds = chance.sample(KINDS, chance.randint(2, len(KINDS)))
    async with asyncio.TaskGroup() as group:
        while hive.loop.time() < until:
            await asyncio.sleep(chance.random() * 3)
            group.create_task(chance.choice(kinds)(hive, chance))
    hive.deaths.clear()
    hive.network.weather = Weather()
    hive.way_lost = 0.0
    for process in hive.processes.values():
        process.skew_s = 0.0


def _somebody(hive: "Hive", chance: random.Random) -> Process:
    return chance.choice([one for one in hive.processes.values() if one.alive and not one.name.startswith("client")])


async def die_at_a_step(hive: "Hive", chance: random.Random) -> None:
    """Whoever takes a step soon is killed there, be it before or behind a commit, a publish or a reply."""
    hive.deaths[hive.steps + chance.randint(1, 300)] = None


async def die(hive: "Hive", chance: random.Random) -> None:
    """Somebody is killed while it waits for whatever it waits for."""
    _somebody(hive, chance).kill()


async def stand_still(hive: "Hive", chance: random.Random) -> None:
    """A process is paused, often beyond its lease, and goes on as if nothing had been."""
    process = _somebody(hive, chance)
    process.pause()
    await asyncio.sleep(chance.uniform(*PAUSE_S))
    process.resume()


async def lose_connections(hive: "Hive", chance: random.Random) -> None:
    """One process, or all of them, cannot reach NATS."""
    everybody = list(hive.processes.values())
    chosen = everybody if chance.random() < 0.3 else [chance.choice(everybody)]
    seconds = chance.uniform(0.05, 6)
    await asyncio.gather(*(cut(process, seconds) for process in chosen))


async def lose_postgres(hive: "Hive", chance: random.Random) -> None:
    """Connections to Postgres break, before a statement or behind it."""
    hive.way_lost = chance.choice((0.05, 0.3, 1.0))
    await asyncio.sleep(chance.uniform(0.1, 4))
    hive.way_lost = 0.0


async def bad_weather(hive: "Hive", chance: random.Random) -> None:
    """Messages are lost, doubled, overtaken and late."""
    hive.network.weather = Weather(
        lost=chance.choice((0.0, 0.02, 0.2)),
        doubled=chance.choice((0.0, 0.05)),
        overtaken=chance.choice((0.0, 0.1)),
        delay_s=chance.choice((0.002, 0.1)),
    )
    await asyncio.sleep(chance.uniform(1, 8))
    hive.network.weather = Weather()


async def lose_streams(hive: "Hive", chance: random.Random) -> None:
    """JetStream's store is deleted, or loses what it wrote last."""
    names = list(hive.server.streams)
    if not names:
        return
    if chance.random() < 0.5:
        for name in names if chance.random() < 0.3 else [chance.choice(names)]:
            hive.server.delete_stream(name)
    else:
        hive.server.lose_tail(chance.choice(names), chance.randint(1, 5))
        await asyncio.gather(*(cut(process, 0.2) for process in list(hive.processes.values())))


async def lose_leaders(hive: "Hive", chance: random.Random) -> None:
    """Streams have no leader for as long as an election takes."""
    names = list(hive.server.streams)
    chosen = names if chance.random() < 0.5 else chance.sample(names, min(1, len(names)))
    for name in chosen:
        hive.server.lose_leader(name)
    await asyncio.sleep(chance.uniform(1, 9))
    hive.server.leaderless.difference_update(chosen)


async def jump(hive: "Hive", chance: random.Random) -> None:
    """Somebody's clock is set, to and fro."""
    process = _somebody(hive, chance)
    process.skew_s += chance.choice((-30.0, -2.0, 2.0, 30.0))


async def suspend(hive: "Hive", chance: random.Random) -> None:
    """The machine slept: its time since the start has jumped."""
    hive.loop.suspended_s += chance.uniform(1, 60)


KINDS = (
    suspend,
    die_at_a_step,
    die,
    stand_still,
    lose_connections,
    lose_postgres,
    bad_weather,
    lose_streams,
    lose_leaders,
    jump,
)
