"""Agents as processes of their own, which are started again when they end: `hivewire agent run`."""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil

from e2e.up import HIVEWIRE, Up, eventually
from faults.strikes import Fault

PROGRAM = """
import asyncio, os
from hivewire import Agent

agent = Agent(os.environ["AGENT_ID"], can=["work"], slots=16)

@agent.task
async def work(task, context):
    await asyncio.sleep(task.payload)
"""


class AgentProcesses:
    """A fleet that can be struck; the seed decides whom it hits."""

    def __init__(self, count: int, seed: int) -> None:
        self._chance = random.Random(seed)
        self._pids: dict[str, int] = {}
        self._names = [f"worker-{number}" for number in range(count)]

    @asynccontextmanager
    async def __call__(self, up: Up, _runs: "Counter[str]") -> AsyncIterator[None]:
        """Let them work."""
        (up.home / "workers.py").write_text(PROGRAM)
        keepers = [asyncio.ensure_future(self._keep_running(up, name)) for name in self._names]
        try:
            yield
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)

    async def _keep_running(self, up: Up, name: str) -> None:
        environment = up.environment | {"AGENT_ID": name}
        with (up.home / f"{name}.log").open("a") as log:
            while True:
                process = await asyncio.create_subprocess_exec(
                    *HIVEWIRE, "agent", "run", "workers:agent", env=environment, cwd=up.home, stdout=log, stderr=log
                )
                self._pids[name] = process.pid
                try:
                    await process.wait()
                except asyncio.CancelledError:
                    process.kill()
                    await process.wait()
                    raise

    # strikes ------------------------------------------------------------------------------------------
    def killed(self) -> Fault:
        """SIGKILL to one of them."""
        return Fault("an agent killed", lambda _: self._strike(signal.SIGKILL))

    def paused(self, seconds: float) -> Fault:
        """One of them stands still for a while."""

        def pause(_: Up) -> None:
            victim = self._strike(signal.SIGSTOP)
            time.sleep(seconds)
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.resume()

        return Fault(f"an agent paused {seconds:g} s", pause)

    def _strike(self, number: signal.Signals) -> psutil.Process:
        return eventually(lambda: self._send(number))

    def _send(self, number: signal.Signals) -> psutil.Process | None:
        with contextlib.suppress(psutil.NoSuchProcess, KeyError):
            victim = psutil.Process(self._pids[self._chance.choice(self._names)])
            victim.send_signal(number)
            return victim
        return None
