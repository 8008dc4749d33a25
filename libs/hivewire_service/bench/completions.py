"""Hearing of completed tasks as any subscriber does: by their events, which are published after the commit."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hivewire.client import Client

PATIENCE_S = 30.0
"""After this long without a completion no more are awaited."""


class Completions:
    """The moments at which tasks were heard to be completed, in the event loop's time."""

    def __init__(self, expected: int) -> None:
        self.at: dict[str, float] = {}
        self._expected = expected
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def heard(cls, client: Client, expected: int) -> AsyncIterator["Completions"]:
        """Listen for so many."""
        completions = cls(expected)
        subject = client.connection.subjects.events("task.completed")
        listening = await client.connection.listen(subject, completions._hear)
        try:
            yield completions
        finally:
            await listening.stop()

    def _hear(self, subject: str, _: bytes) -> None:
        self.at.setdefault(subject.rpartition(".")[2], self._loop.time())
        self._news.set()

    async def all(self) -> None:
        """Wait for all that are expected, unless nothing comes any more."""
        with contextlib.suppress(TimeoutError):
            while len(self.at) < self._expected:
                self._news.clear()
                await asyncio.wait_for(self._news.wait(), PATIENCE_S)

    @property
    def last(self) -> float:
        """The moment of the last one."""
        return max(self.at.values())
