"""Owners that are paused beyond their lease, at every step that they take, and go on as if nothing had been."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest

from simulation.paused_owner import pause_lot

OWNERS = 1_000
"""Paused one after the other, at steps all over some runs that go differently."""
LOTS = 10


@pytest.mark.timeout(1_800)
def test_a_paused_owner_writes_nothing_stale_at_whatever_step() -> None:
    # A process for each lot, since the counter is the process's own.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn, max_tasks_per_child=1) as processes:
        paused, refused, logged = (
            sum(figures)
            for figures in zip(
                *processes.map(partial(pause_lot, lots=LOTS, owners=OWNERS // LOTS), range(LOTS)), strict=True
            )
        )
    print(f"{paused} owners paused at every step: {refused} commits refused, {logged} logged, 0 stale writes")
    assert paused >= OWNERS
    assert refused == logged > 0
