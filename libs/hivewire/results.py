"""Waiting for tasks to end, cheaply for thousands at once.

An event only says that it is worth to look; what counts is read from the broker. So a lost event costs time, never a
result, and credentials that may not listen to events wait as well, by asking now and then.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from hivewire import paging, reads
from hivewire.connection import Connection, Listening
from hivewire.errors import HivewireError, NotReachable, RefusedError
from hivewire.history import ENDED
from hivewire.subjects import BROKER, as_token
from hivewire.views import TERMINAL, TaskView

LOOK_S = 5.0
"""Pause between looks at what is awaited although no event called."""
UNHEARD_S = 5.0
"""For so long after a reconnection the pauses are those of who can't hear events: some may go astray until every node knows
who listens."""
POLL_FIRST_S = 0.1
POLL_MAX_S = 1.0
"""The same where events cannot be heard; doubling while nothing ends."""
IDS_PER_READ = 200
FETCHED_AT_ONCE = 8
"""So few tasks are read whole without asking first which of them have ended."""


class _Status(msgspec.Struct):
    """What a look needs of a task."""

    task_id: str
    status: str


@dataclass(slots=True)
class _Awaited:
    ended: asyncio.Future[TaskView]
    users: int = 0
    listening: Listening | None = None


@dataclass(slots=True)
class Results:
    """The tasks that a client waits for."""

    connection: Connection
    _awaited: dict[str, _Awaited] = field(default_factory=dict)
    _called: set[str] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _looking: asyncio.Task[None] | None = None
    _may_listen: bool = True
    _unheard_until_s: float = 0.0

    def __post_init__(self) -> None:
        self.connection.on_reconnect.append(self._reconnected)

    def _reconnected(self) -> None:
        """Events were missed meanwhile."""
        self._unheard_until_s = asyncio.get_running_loop().time() + UNHEARD_S
        self._wake.set()

    async def ended(self, task_id: str) -> TaskView:
        """The task, once it has ended.

        Raises:
            RefusedError: there is no such task.
        """
        awaited = self._awaited.get(task_id)
        if awaited is None:
            awaited = self._awaited[task_id] = _Awaited(asyncio.get_running_loop().create_future())
        awaited.users += 1
        try:
            if awaited.users == 1:
                await self._listen(task_id, awaited)
                self._call(task_id)
            return await asyncio.shield(awaited.ended)
        finally:
            awaited.users -= 1
            if not awaited.users:
                await self._forget(task_id, awaited)

    async def close(self) -> None:
        """Stop looking."""
        self.connection.on_reconnect.remove(self._reconnected)
        if self._looking:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking

    async def _listen(self, task_id: str, awaited: _Awaited) -> None:
        if not self._may_listen:
            return
        subject = self.connection.subjects.events("task.*", as_token(task_id))
        try:
            awaited.listening = await self.connection.listen(subject, lambda heard, _: self._hear(heard, task_id))
        except RefusedError:
            self._may_listen = False
        except NotReachable:
            return  # looking now and then will do

    def _hear(self, subject: str, task_id: str) -> None:
        _, _, event_type = subject.split(".", 2)
        if event_type.rpartition(".")[0] in ENDED:
            self._call(task_id)

    def _call(self, task_id: str) -> None:
        self._called.add(task_id)
        self._wake.set()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="hivewire results")

    async def _forget(self, task_id: str, awaited: _Awaited) -> None:
        self._awaited.pop(task_id, None)
        self._called.discard(task_id)
        if awaited.listening:
            await awaited.listening.stop()

    async def _look(self) -> None:
        pause_s = POLL_FIRST_S
        while True:
            called, self._called = self._called, set()
            self._wake.clear()
            ended = False
            try:
                worth = called if 0 < len(called) <= FETCHED_AT_ONCE else await self._ended_of(called or self._awaited)
                ended = any(await asyncio.gather(*(self._fetch(task_id) for task_id in worth)))
            except NotReachable:
                pass  # the next look is as good
            except HivewireError as error:
                self._fail(error)
            pause_s = POLL_FIRST_S if ended else min(2 * pause_s, POLL_MAX_S)
            hears = self._may_listen and asyncio.get_running_loop().time() >= self._unheard_until_s
            await self._pause(LOOK_S if hears else pause_s)

    async def _pause(self, pause_s: float) -> None:
        # Not `wait_for`, which on Python 3.11 can lose the cancellation of `close`.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s if self._awaited else None):
                await self._wake.wait()

    def _fail(self, error: HivewireError) -> None:
        for awaited in self._awaited.values():
            if not awaited.ended.done():
                awaited.ended.set_exception(error)

    async def _ended_of(self, task_ids: Iterable[str]) -> set[str]:
        """Those that have ended, and those that do not exist."""
        ended, rest = set(), iter(list(task_ids))
        while chunk := list(islice(rest, IDS_PER_READ)):
            query = reads.ListTasks(ids=chunk, limit=IDS_PER_READ)
            missing = set(chunk)
            async for task in paging.items(self.connection, BROKER, "tasks", query, _Status):
                missing.discard(task.task_id)
                if task.status in TERMINAL:
                    ended.add(task.task_id)
            ended |= missing
        return ended

    async def _fetch(self, task_id: str) -> bool:
        """Read a task; whether it has ended."""
        awaited = self._awaited.get(task_id)
        if awaited is None:
            return False
        try:
            task = await self.connection.read(BROKER, "task", reads.OneTask(task_id), TaskView)
        except RefusedError as error:
            if not awaited.ended.done():
                awaited.ended.set_exception(error)
            return True
        if task.status in TERMINAL and not awaited.ended.done():
            awaited.ended.set_result(task)
        return awaited.ended.done()
