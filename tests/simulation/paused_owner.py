"""A hive whose broker is paused beyond its lease at one step that it takes, and goes on as if nothing had been."""

import asyncio

import hivewire_broker.main
from hivewire.subjects import BROKER
from simulation import workload
from simulation.hive import Hive, Outcome
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
