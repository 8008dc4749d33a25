"""Tasks that are submitted one by one: while some are unanswered, those that come meanwhile go together.

Few at a time are each a command of its own, sent at once. Where tasks come faster than they are answered, a command each
costs the sender, the servers and the broker more than the tasks do: then those of some milliseconds are one command. It is
how Nagle's algorithm (RFC 896) fills TCP segments. Each task is answered as if it had been alone.
"""

import asyncio
from collections.abc import Iterator
from contextvars import Context
from dataclasses import dataclass
from itertools import groupby

from hivewire import batch
from hivewire.bulk import Taken, named, send
from hivewire.commands.broker import Submit
from hivewire.connection import Connection
from hivewire.correlation import Correlation, correlated, current
from hivewire.subjects import BROKER
from hivewire.views import TaskBrief

UNDER_WAY_MAX = 2
"""With so many commands unanswered, what comes waits for an answer to one of them, or for `TOGETHER_S`."""
TOGETHER_S = 0.02
"""Longer than an answer takes, unless much is to do."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    body: bytes
    correlation: Correlation
    taken: asyncio.Future[Taken]


class Submitting:
    """Sends the tasks of one connection to the broker, and gives up waiting for an answer after `timeout_s`."""

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._waiting: list[_Waiting] = []
        self._under_way = 0
        self._sending: set[asyncio.Task[None]] = set()
        self._due: asyncio.TimerHandle | None = None

    async def submit(self, task: Submit) -> Taken:
        """Submit a task, after those that were submitted before, and wait until it is taken.

        Raises:
            RefusedError: the task cannot be taken.
            NotReachable: no answer came in time. Whether it was taken is then unknown.
        """
        if self._under_way < UNDER_WAY_MAX and not self._waiting:
            return await self._alone(task)
        body = batch.encoded(named(task), self._connection.message_bytes_max)
        waiting = _Waiting(body, current(), asyncio.get_running_loop().create_future())
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(TOGETHER_S, self._send, context=Context())
        self._waiting.append(waiting)
        return await waiting.taken

    async def _alone(self, task: Submit) -> Taken:
        self._under_way += 1
        try:
            brief = await self._connection.command(BROKER, "submit", task, TaskBrief, timeout_s=self._timeout_s)
        finally:
            self._answered()
        return Taken(brief.task_id, brief.created is not False)

    def _answered(self) -> None:
        self._under_way -= 1
        if self._waiting and self._under_way < UNDER_WAY_MAX:
            self._send()

    def _send(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        waiting, self._waiting = self._waiting, []
        for together in self._commands([each for each in waiting if not each.taken.done()]):
            self._under_way += 1
            sending = asyncio.get_running_loop().create_task(self._together(together), context=Context())
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    def _commands(self, waiting: list[_Waiting]) -> Iterator[list[_Waiting]]:
        """What may be one command: tasks that follow one another and belong to the same, as far as there is room."""
        for _, correlated_alike in groupby(waiting, key=lambda each: each.correlation):
            alike = list(correlated_alike)
            for chunk in batch.chunks(enumerate(each.body for each in alike), self._connection.message_bytes_max):
                yield [alike[index] for index in chunk.indexes]

    async def _together(self, waiting: list[_Waiting]) -> None:
        try:
            with correlated(*waiting[0].correlation):
                outcomes = await send(self._connection, [each.body for each in waiting], self._timeout_s)
            for each, outcome in zip(waiting, outcomes, strict=True):
                _settle(each.taken, outcome)
        except Exception as error:  # noqa: BLE001  # it is raised where the tasks were submitted
            for each in waiting:
                _settle(each.taken, error)
        finally:
            self._answered()


def _settle(taken: asyncio.Future[Taken], outcome: Taken | Exception) -> None:
    if taken.done():
        return  # its sender waits no more
    if isinstance(outcome, Exception):
        taken.set_exception(outcome)
    else:
        taken.set_result(outcome)
