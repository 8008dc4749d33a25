"""Turns at something of which only so many may run at a time, such that whoever asks for much keeps nobody else waiting."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairTurns:
    """`at_a_time` turns. Of those who wait each has one before anybody has another; one's own come in their order."""

    def __init__(self, at_a_time: int) -> None:
        self._free = at_a_time
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """Who is next stands first."""

    def waiting(self, who: str) -> int:
        """How many turns somebody waits for."""
        return len(self._waiting.get(who, ()))

    @asynccontextmanager
    async def turn(self, who: str) -> AsyncIterator[None]:
        """Wait for a turn; it ends with the context."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(who)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, who: str) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():  # the turn had come
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            who = next(iter(self._waiting))
            theirs = self._waiting.pop(who)
            turn = theirs.popleft()
            if theirs:
                self._waiting[who] = theirs  # behind the others
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
