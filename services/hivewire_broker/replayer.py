"""Carries replays out: asks the broker, in the name of whoever wanted it, to retry each dead letter in its time.

Each retry is a command like any other. What was replayed before a restart is open, or ended after the replay began, and
so is not found again.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from hivewire import limits
from hivewire.commands.broker import Retry
from hivewire.errors import RefusedError
from hivewire.events import Event
from hivewire.events.replay import ReplayStarted
from hivewire.subjects import BROKER
from hivewire.views import TaskBrief
from hivewire_broker.core import Broker
from hivewire_broker.replay_rows import SQL
from hivewire_broker.replays import Replay, ReplayMoved
from hivewire_service.deputy import Deputy, deputy
from hivewire_service.service import Service
from hivewire_service.settings import Settings
from hivewire_service.store import CONNECTION_ERRORS

log = structlog.get_logger()

LOT_S: Final = 0.2
"""Dead letters that fall into this time are retried together."""
PAUSE_S: Final = 1.0
"""Until Postgres is asked again after it could not be reached."""


class Replayer:
    """`committed` is called by the rows, `run` beside the loop as long as it owns the broker."""

    def __init__(self, core: Broker, settings: Settings) -> None:
        self._core = core
        self._settings = settings
        self._started = asyncio.Event()

    def committed(self, events: Sequence[Event]) -> None:
        """Take up new replays."""
        if any(isinstance(event, ReplayStarted) for event in events):
            self._started.set()

    async def run(self, service: Service) -> None:
        """Replay until cancelled."""
        at_work: set[str] = set()
        async with asyncio.TaskGroup() as group, await deputy(self._settings) as line:
            while True:
                self._started.clear()
                for replay in self._core.state.replays.values():
                    if replay.status == "running" and replay.replay_id not in at_work:
                        at_work.add(replay.replay_id)
                        group.create_task(self._replay(service, line, replay))
                await self._started.wait()

    async def _replay(self, service: Service, line: Deputy, replay: Replay) -> None:
        """One replay, lot by lot, each not before its time."""
        loop = asyncio.get_running_loop()
        place, due_s = replay.place, loop.time()
        lot = max(1, min(limits.BATCH_ITEMS_MAX, round(replay.rate * LOT_S)))
        filters = (replay.started_at, replay.owner, replay.phase, replay.error)
        while replay.status == "running":
            try:
                rows = await service.store.pool.fetch(SQL.dead_of_replay, place, *filters, lot)
            except CONNECTION_ERRORS as error:
                log.warning("dead letters not read, trying again", replay=replay.replay_id, error=str(error))
                await asyncio.sleep(PAUSE_S)
                continue
            done = await asyncio.gather(*(_retry(line, replay, row["task_id"]) for row in rows))
            place = rows[-1]["ordinal"] if rows else place
            moved = ReplayMoved(replay.replay_id, place, sum(done), len(done) - sum(done), done=len(rows) < lot)
            service.observe(moved)
            if moved.done:
                return
            due_s = max(due_s, loop.time() - LOT_S) + lot / replay.rate
            await asyncio.sleep(due_s - loop.time())


async def _retry(line: Deputy, replay: Replay, task_id: str) -> bool:
    """Whether the task is open again."""
    try:
        await line.command_as(replay.by, BROKER, "retry", Retry(task_id, replay.reason), TaskBrief, timeout_s=None)
    except RefusedError as error:
        log.info("not replayed", replay=replay.replay_id, task=task_id, reason=str(error))
        return False
    return True
