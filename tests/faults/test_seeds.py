"""Five thousand hives that nobody has seen before: the seeds behind those that every run of the tests tries."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from simulation.hive import run_lot

FIRST = 200
SEEDS = 5_000
LOT = 50


@pytest.mark.timeout(3 * 3600)
def test_no_seed_finds_anything() -> None:
    lots = [range(first, first + LOT) for first in range(FIRST, FIRST + SEEDS, LOT)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as processes:
        outcomes = list(processes.map(run_lot, lots))
    found = [text for _, texts in outcomes for text in texts]
    print(f"{SEEDS} seeds, {sum(steps for steps, _ in outcomes):,} steps, {len(found)} violations")
    for text in found:  # pytest shortens a list
        print(text)
    assert not found
