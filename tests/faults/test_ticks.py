"""What simulations survive: kills and pauses of the tick engine leave the history that an undisturbed run has."""

import asyncio
import signal
from itertools import count

import asyncpg
import pytest

from integration.gateway_process import gateway
from integration.rehearsing import native, rehearsal
from integration.tick_engine import differences, engine, operator

KILLS = 50
TICKS = 5_000
DELAY_S = 0.002
LEASE = {"HIVEWIRE_LEASE_SECONDS": "0.5"}

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def busy(ticks: int, delay_s: float) -> dict:
    """Agents that never stop talking, fail now and then, delegate, and wait for one that does not answer."""
    again = {"kind": "scripted", "replies": [{"reply": "go on", "failure_rate": 0.02}]}
    ping = {"kind": "scripted", "replies": [{"pattern": "error", "reply": "?"}, {"reply": "ping", "after_ticks": 2}]}
    ask = {"kind": "scripted", "replies": [{"reply": [1, 2, 3], "to": "lead", "after_ticks": 7}]}
    return {
        "agents": [
            {"id": "a", "behaviour": again},
            {"id": "b", "behaviour": ping},
            {"id": "clock", "behaviour": {"kind": "scripted", "replies": [{"reply": "tick", "after_ticks": 5}]}},
            {"id": "lead", "behaviour": {"kind": "delegation", "targets": ["worker", "silent"]}},
            {"id": "manager", "behaviour": ask},
            {"id": "worker"},
            {"id": "silent", "agent_type": "remote"},
        ],
        "graph": {
            "edges": [
                {"from": "a", "to": "b", "bidirectional": True},
                {"from": "lead", "to": "worker", "bidirectional": True},
                {"from": "lead", "to": "silent"},
                {"from": "manager", "to": "lead", "bidirectional": True},
            ]
        },
        "mode": "auto",
        "delay_s": delay_s,
        "tick_budget": ticks,
        "messages_per_tick": "all",
        "dispatch_timeout_ticks": 11,
        "seed": 17,
        "messages": [
            {"from": "a", "to": "b", "content": "start"},
            {"from": "clock", "to": "clock", "content": "start"},
            {"from": "user", "to": "manager", "content": "start"},
        ],
    }


async def connected(hive) -> asyncpg.Connection:
    return await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name})


async def at_tick(connection: asyncpg.Connection, tick: int) -> None:
    """Wait until the simulation has come so far."""
    while (await connection.fetchval("SELECT tick FROM simulation")) < tick:
        await asyncio.sleep(0.01)


async def history(connection: asyncpg.Connection) -> list[tuple[str, str, str]]:
    rows = await connection.fetch("SELECT type, entity_id, data FROM event WHERE writer = 'tick-engine' ORDER BY seq")
    return [tuple(row) for row in rows]


async def begin(hive, ticks: int, delay_s: float) -> None:
    async with operator(hive) as client:
        await client.simulations.create(busy(ticks, delay_s), simulation_id="s")
        await client.simulations.start("s")


async def undisturbed(hive) -> list[tuple[str, str, str]]:
    """The history of a run that nothing happens to."""
    async with engine(hive):
        await begin(hive, TICKS, DELAY_S)
        connection = await connected(hive)
        await at_tick(connection, TICKS)
    found = await history(connection)
    await connection.close()
    return found


async def test_a_run_that_is_killed_again_and_again_has_the_history_of_an_undisturbed_one(hive, other_hive):
    connection = None
    for kill in count(1):
        async with engine(hive, **LEASE) as process:
            if connection is None:
                await begin(hive, TICKS, DELAY_S)
                connection = await connected(hive)
            if kill > KILLS:
                await at_tick(connection, TICKS)
                break
            await at_tick(connection, kill * TICKS // (KILLS + 1))
            process.send_signal(signal.SIGKILL)
            await process.wait()
    found = await history(connection)
    owners = await connection.fetchval("SELECT epoch FROM lease WHERE service = 'tick-engine'")
    await connection.close()
    assert owners == KILLS + 1
    assert await differences(hive) == []
    assert found == await undisturbed(other_hive)


async def test_a_paused_owner_neither_repeats_nor_skips_a_tick(hive):
    async with engine(hive, **LEASE) as owner:
        await begin(hive, 400, 0.01)
        connection = await connected(hive)
        async with engine(hive, **LEASE):
            for tick in (100, 200):
                await at_tick(connection, tick - 50)
                owner.send_signal(signal.SIGSTOP)
                await at_tick(connection, tick)
                owner.send_signal(signal.SIGCONT)
            await at_tick(connection, 400)
    rows = await connection.fetch(
        "SELECT data::json->>'tick' AS tick FROM event WHERE type = 'tick.advanced' ORDER BY seq"
    )
    epochs = await connection.fetchval("SELECT epoch FROM lease WHERE service = 'tick-engine'")
    await connection.close()
    assert [int(row["tick"]) for row in rows] == list(range(1, 401))
    assert epochs >= 2
    assert await differences(hive) == []


async def test_a_gateway_that_is_down_holds_nothing_up_and_is_asked_once_it_is_back(hive):
    async with engine(hive), rehearsal(hive) as on:
        simulation = await on.begin("nat@ a")
        await on.ask(simulation, "nat", "hello")
        await on.ask(simulation, "a", "and you?")
        assert (await on.sims.tick(simulation, 3)).tick == 5
        async with gateway(hive), native(hive, "nat"):
            (answer,) = await on.happened(simulation, "dispatch.buffered")
            assert (answer["tick"], answer["content"]["of"]) == (5, "hello")


async def test_an_engine_that_is_killed_behind_its_commits_asks_again_and_nobody_is_asked_twice(hive):
    asked = 10
    async with gateway(hive), native(hive, "nat", slots=asked):
        for number in range(1, asked + 1):
            async with engine(hive, **LEASE) as process, operator(hive) as client:
                if number == 1:
                    agents = [{"id": "nat", "agent_type": "remote"}]
                    config = {"agents": agents, "messages_per_tick": "all"}
                    await client.simulations.create(config, simulation_id="s")
                    await client.simulations.start("s")
                await client.simulations.send("s", "nat", f"number {number}")
                await client.simulations.tick("s")
                process.kill()
                await process.wait()
        async with engine(hive), rehearsal(hive) as on:
            answers = await on.happened("s", "dispatch.buffered", asked)
            assert sorted(one["dispatch_id"] for one in answers) == sorted(f"d{n}" for n in range(1, asked + 1))
            connection = await connected(hive)
            attempts = await connection.fetchval("SELECT array_agg(attempt) FROM session")
            await connection.close()
            assert attempts == [1] * asked
