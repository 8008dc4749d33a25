"""What the hive survives: two thousand tasks while one part of it is broken five times, and pauses of each part."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from e2e.up import Up
from faults import harness
from hivewire.limits import BEAT_INTERVAL_S, BEATS_MISSED_MAX

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.mark.parametrize("fault", harness.BREAKS, ids=lambda fault: fault.name.replace(" ", "-"))
async def test_nothing_is_lost_or_done_twice(fault: harness.Fault, seed: int, record, tmp_path):
    await survives([fault] * 5, seed, record, tmp_path, tasks=2_000, per_second=100)


@pytest.mark.parametrize("process", harness.PROCESSES)
async def test_a_pause_beyond_the_agents_allowance_loses_none_of_them(process: str, seed: int, record, tmp_path):
    fault = harness.paused(process, seconds=BEAT_INTERVAL_S * BEATS_MISSED_MAX + 3)
    await survives([fault], seed, record, tmp_path, tasks=200, per_second=10)


async def survives(
    faults: Sequence[harness.Fault], seed: int, record, folder: Path, *, tasks: int, per_second: float
) -> None:
    up = Up(folder)
    up.start()
    run = harness.Run(up, faults, tasks=tasks, per_second=per_second, seed=seed)
    record(run.outcome)
    try:
        outcome = await run.result()
    finally:
        up.stop()
    assert outcome.damage == {}
    assert (outcome.tasks, outcome.strikes) == (tasks + len(faults), len(faults))
