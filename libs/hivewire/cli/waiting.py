"""Waiting for a task: whoever waits is told why it does not begin."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from hivewire.cli.output import complain
from hivewire.errors import HivewireError

if TYPE_CHECKING:
    from hivewire.client import Client

PATIENCE_S = 3.0
"""A task that is with an agent by then, or has ended, needs no explanation."""
WAITING = frozenset({"pending", "blocked", "pending_approval"})


@contextlib.asynccontextmanager
async def telling_why(hive: "Client", task_id: str) -> AsyncIterator[None]:
    """Say on stderr why a task is still pending, each time that it waits for something else."""
    telling = asyncio.create_task(_tell(hive, task_id))
    try:
        yield
    finally:
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling


async def _tell(hive: "Client", task_id: str) -> None:
    told = ""
    while True:
        await asyncio.sleep(PATIENCE_S)
        try:
            found = await hive.why(task_id)
        except HivewireError:
            continue  # whoever waits hears of it too
        if found.status in WAITING and found.waits_for != told:
            told = found.waits_for
            complain(f"{task_id} waits: {found.sentence}")
