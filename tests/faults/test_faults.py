"""What the hive survives: two thousand tasks while one part of it is broken five times, and pauses of each part."""

from pathlib import Path

import pytest

from e2e.up import Up
from faults import harness, strikes
from faults.rigged import Rig, RiggedUp
from hivewire.limits import BEAT_INTERVAL_S, BEATS_MISSED_MAX

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.mark.parametrize("fault", strikes.BREAKS, ids=lambda fault: fault.name.replace(" ", "-"))
async def test_nothing_is_lost_or_done_twice(fault: strikes.Fault, seed: int, record, tmp_path):
    await _survives([fault] * 5, seed, record, tmp_path, tasks=2_000, per_second=100)


@pytest.mark.parametrize("process", strikes.PROCESSES)
async def test_who_is_asked_to_end_comes_back(process: str, seed: int, record, tmp_path):
    await _survives([strikes.terminated(process)] * 5, seed, record, tmp_path, tasks=1_000, per_second=100)


@pytest.mark.parametrize("process", strikes.PROCESSES)
async def test_a_pause_beyond_the_agents_allowance_loses_none_of_them(process: str, seed: int, record, tmp_path):
    fault = strikes.paused(process, seconds=BEAT_INTERVAL_S * BEATS_MISSED_MAX + 3)
    await _survives([fault], seed, record, tmp_path, tasks=200, per_second=10)


async def test_a_store_that_is_deleted_ten_times_is_drained_within_half_a_minute(seed: int, record, tmp_path):
    faults = [strikes.STREAMS_DELETED] * 10
    outcome = await _survives(faults, seed, record, tmp_path, tasks=5_000, per_second=100)
    assert outcome.recovery(1) <= 30


@pytest.mark.parametrize("sync", ["2m", "always"])
async def test_nats_server_is_killed_however_it_syncs(sync: str, seed: int, record, tmp_path):
    up = RiggedUp(tmp_path, rig=Rig(jetstream=f"sync_interval: {sync},"))
    fault = strikes.Fault(f"nats-server killed, sync_interval {sync}", strikes.killed("nats-server").strike)
    await _survives([fault] * 10, seed, record, tmp_path, up=up, tasks=2_000, per_second=100)


async def _survives(
    faults: list[strikes.Fault], seed: int, record, folder: Path, up: Up | None = None, **load: float
) -> harness.Outcome:
    up = up or Up(folder)
    run = harness.Run(up, faults, seed=seed, **load)
    record(run.outcome)
    await harness.survives(up, run)
    return run.outcome
