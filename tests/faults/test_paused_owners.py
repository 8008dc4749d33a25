"""Owners that are paused beyond their lease, at every step that they take, and go on as if nothing had been."""

import random
from itertools import count

import pytest
from structlog.testing import capture_logs

from hivewire.subjects import BROKER
from hivewire_service.metrics import COMMITS_FENCED
from simulation.hive import run
from simulation.paused_owner import PausedOwner

OWNERS = 1_000
"""Paused one after the other, at each step of the first runs and of runs that go differently."""


@pytest.mark.timeout(600)
def test_a_paused_owner_writes_nothing_stale_at_whatever_step() -> None:
    """An oracle watches every commit: one at an old epoch would not follow the last."""
    paused, chance = 0, random.Random(8)
    refused_before = COMMITS_FENCED.labels(BROKER)._value.get()
    steps = count(1)
    seed = 0
    with capture_logs() as logs:
        while paused < OWNERS:
            PausedOwner.paused_at = next(steps)
            outcome = run(seed, PausedOwner)
            paused += outcome.figures["paused"]
            if PausedOwner.paused_at >= outcome.steps:
                steps, seed = count(chance.randint(1, 3)), seed + 1
    refused = COMMITS_FENCED.labels(BROKER)._value.get() - refused_before
    logged = sum(line["event"].startswith("commit refused") for line in logs)
    print(f"{paused} owners paused at every step: {refused:.0f} commits refused, {logged} logged, 0 stale writes")
    assert refused == logged > 0
