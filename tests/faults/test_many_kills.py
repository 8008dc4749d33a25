"""Twenty thousand tasks while two hundred kills come at random, none of them waiting for the hive to be well again; and
the same of agents, which are then processes of their own."""

import time

import pytest

from e2e.up import Up
from faults import harness, strikes
from faults.fleet import AgentProcesses

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1_200)]

MINUTES_MAX = 15


async def test_twenty_thousand_tasks_survive_two_hundred_kills(seed: int, record, tmp_path):
    up = Up(tmp_path)
    run = harness.Run(up, strikes.any_killed(200, seed), tasks=20_000, per_second=45, seed=seed, overlapping=True)
    record(run.outcome)
    begun = time.monotonic()
    await harness.survives(up, run)
    assert time.monotonic() - begun < MINUTES_MAX * 60


async def test_agents_that_are_killed_or_stand_still_complete_nothing_twice(seed: int, record, tmp_path):
    """What an agent began when it was killed is begun anew; it is never completed twice."""
    agents = AgentProcesses(4, seed)
    kinds = [agents.killed(), agents.killed(), agents.paused(1), agents.paused(20)]
    faults = strikes.any_of("agents killed or paused", kinds, 20, seed)
    up = Up(tmp_path)
    run = harness.Run(up, faults, tasks=3_000, per_second=25, seed=seed, overlapping=True, fleet=agents)
    record(run.outcome)
    await harness.survives(up, run, tolerated={"agents_lost"})
