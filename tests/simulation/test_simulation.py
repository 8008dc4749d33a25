"""Whole hives, each from a seed, while things go wrong. `--seed N` runs one again, `--seeds N` more than usual."""

import os
import subprocess
import sys

import pytest

from simulation.hive import run

LOTS = 20
"""Seeds in one test."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" not in metafunc.fixturenames:
        return
    seed, count = metafunc.config.getoption("--seed"), metafunc.config.getoption("--seeds")
    lots = [range(seed, seed + 1)] if seed is not None else [range(n, n + LOTS) for n in range(0, count, LOTS)]
    metafunc.parametrize("seeds", lots, ids=lambda lot: f"{lot[0]}-{lot[-1]}")


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_done_twice(seeds: range) -> None:
    for seed in seeds:
        print(run(seed))


def test_a_seed_replays_exactly_in_another_process() -> None:
    code = "from simulation.hive import run; print(run(7).digest)"
    environment = os.environ | {"PYTHONPATH": "tests", "PYTHONHASHSEED": "12345"}
    again = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert again.stdout.split()[-1] == run(7).digest
