"""Owners that are paused beyond their lease, at every step that they take, and go on as if nothing had been."""

import asyncio
import random
from itertools import count

import pytest
from structlog.testing import capture_logs

import hivewire_broker.main
from hivewire.subjects import BROKER
from hivewire_service.metrics import COMMITS_FENCED
from simulation import workload
from simulation.hive import Hive, Outcome, run
from simulation.processes import Process, serve

LEASE_S = 0.05
PAUSE_S = 0.4
OWNERS = 1_000
"""Paused one after the other, at each step of the first runs and of runs that go differently."""


class PausedOwner(Hive):
    """A broker with a standby; its owner is paused at one step."""

    paused_at = 0

    def dies_here(self, process: Process) -> bool:
        if process.name.startswith(BROKER):
            self.taken += 1
            if self.taken == self.paused_at and self._owner() == process.name:
                self.was_paused = True
                process.pause()
                self.loop.call_later(PAUSE_S, process.resume)
        return False

    def _owner(self) -> str:
        return next((row["owner"] for row in self.database.rows_of("lease").values()), "")

    async def run(self) -> Outcome:
        self.taken = 0
        self.was_paused = False
        self.settings = self.settings.model_copy(update={"lease_seconds": LEASE_S})
        for number in range(2):
            self.add(f"{BROKER} {number}", lambda p: serve(p, hivewire_broker.main.DEFINITION, self.settings)).start()
        wishes = workload.plan(self.chance)[:8]
        for wish in wishes:
            wish.at_s, wish.later = self.chance.random(), []
            wish.submit.depends_on = []
        client = self.add("client 0", workload.nothing)
        sending = asyncio.ensure_future(workload.send(client, self, wishes, rehearses=False))
        await self._until(sending.done, "commands without a reply")
        sending.result()
        await asyncio.sleep(2 * PAUSE_S)
        await self._until(lambda: not self.oracle.unpublished(), "events that never were on the bus")
        self._check()
        return Outcome(self.seed, "", self.taken, {"paused": int(self.was_paused)})


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
