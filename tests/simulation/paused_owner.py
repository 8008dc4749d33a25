"""A hive whose broker is paused beyond its lease at one step that it takes, and goes on as if nothing had been."""

import asyncio
import random
from itertools import count

from structlog.testing import capture_logs

import hivewire_broker.main
from hivewire.subjects import BROKER
from hivewire_service.metrics import COMMITS_FENCED
from simulation import workload
from simulation.hive import Hive, Outcome, run
from simulation.processes import Process, serve

LEASE_S = 0.05
PAUSE_S = 0.4


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


def pause_lot(lot: int, lots: int, owners: int) -> tuple[int, int, int]:
    """Pause so many owners one after the other: how many, how many commits were refused for it, and how many of these were
    logged. To be called once a process, whose counter is read.

    The lots share the steps of a run among them, and try theirs at equal distances; then the same with the next run, at
    others. An oracle watches every commit: one at an old epoch would not follow the last, and ends the run with an error.
    """
    paused, chance = 0, random.Random(f"lot {lot}")
    with capture_logs() as logs:
        for seed in count():
            PausedOwner.paused_at = 0
            share = run(seed, PausedOwner).steps // lots
            distance = max(1, share // owners)
            for step in range(chance.randint(1, distance), share, distance):
                PausedOwner.paused_at = lot * share + step
                paused += run(seed, PausedOwner).figures["paused"]
            if paused >= owners:
                break
    refused = int(COMMITS_FENCED.labels(BROKER)._value.get())
    return paused, refused, sum(line["event"].startswith("commit refused") for line in logs)
