"""What remote agents say, as commands in their name. It is repeated until the core answered."""

import asyncio
from collections.abc import Coroutine
from typing import Any
from weakref import WeakValueDictionary

import msgspec
import structlog

from hivewire import fields, limits
from hivewire.commands.sessions import Respond, SessionProgress
from hivewire.errors import HivewireError, NotReachable, RefusedError
from hivewire.handlers import storable
from hivewire.subjects import AGENT_GATEWAY
from hivewire.views import SessionBrief
from hivewire_agent_gateway.door.frames import attempt_of
from hivewire_agent_gateway.door.place import Place

log = structlog.get_logger()

LAST_S = 1.5
SAID_AT_ONCE_MAX = 64
"""What one agent says at a time, by however many connections one after the other."""


class Answers:
    """The answers under way. They outlive the connection that they came by."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._running: set[asyncio.Task[None]] = set()
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        """Kept by the agents' connections, and by what they said."""

    def turns_of(self, agent_id: str) -> asyncio.Semaphore:
        """What an agent has to acquire for each thing that it says, for as long as that runs."""
        turns = self._turns.get(agent_id)
        if turns is None:
            turns = self._turns[agent_id] = asyncio.Semaphore(SAID_AT_ONCE_MAX)
        return turns

    def run(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Let something run to its end, whatever becomes of the connection."""
        task = asyncio.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def finish(self) -> None:
        """Give what is under way a moment to be answered."""
        if self._running:
            await asyncio.wait(self._running, timeout=LAST_S)
        for task in self._running:
            task.cancel()

    async def respond(
        self,
        agent_id: str,
        message_id: str,
        content: msgspec.Raw = fields.NULL,
        usage: msgspec.Raw = fields.NULL,
        error: str | None = None,
        *,
        unreachable: bool = False,
    ) -> None:
        """Give an agent's answer to the core.

        Raises:
            RefusedError: it is not wanted (any more), or is too large.
        """
        session_id, attempt = _named(message_id)
        text = None if error is None else storable(error)
        data = Respond(session_id, attempt, content, usage, text, unreachable)
        await self._send(agent_id, "respond", data, None)

    async def progress(
        self, agent_id: str, message_id: str, status: str | None, text: str = "", progress: float | None = None
    ) -> None:
        """Tell the core that an agent works on a dispatch. Raises what `respond` raises."""
        session_id, attempt = _named(message_id)
        data = SessionProgress(session_id, attempt, (status or "")[: limits.LABEL_CHARS_MAX] or None, text, progress)
        try:
            await self._send(agent_id, "progress", data, limits.REQUEST_TIMEOUT_S)
        except NotReachable as error:
            log.warning("progress not passed on", session=session_id, error=str(error))

    async def _send(self, agent_id: str, verb: str, data: msgspec.Struct, timeout_s: float | None) -> None:
        try:
            await self._place.line.command_as(agent_id, AGENT_GATEWAY, verb, data, SessionBrief, timeout_s=timeout_s)
        except (RefusedError, NotReachable):
            raise
        except HivewireError as error:
            raise RefusedError(str(error), 500) from error


def _named(message_id: str) -> tuple[str, int]:
    named = attempt_of(message_id)
    if named is None:
        raise RefusedError(f"{message_id[:60]!r} is no message id", 400)
    return named
