"""A short version of what `make faults` does: every part of the hive is broken once, under load."""

from e2e.up import Up
from faults import harness, strikes

SEED = 1


async def test_every_part_is_broken_once_and_nothing_is_lost_or_done_twice(own_up: Up):
    own_up.start()
    outcome = await harness.Run(own_up, strikes.BREAKS, tasks=200, per_second=40, seed=SEED).result()
    assert outcome.damage == {}
    assert outcome.strikes == len(strikes.BREAKS)
    assert outcome.tasks >= 200 + outcome.strikes
