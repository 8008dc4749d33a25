"""Submitting any number of tasks, a thousand a command."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from hivewire import batch
from hivewire.commands.broker import Submit, SubmitBatch
from hivewire.connection import Connection
from hivewire.errors import HivewireError, NotReachable, RefusedError
from hivewire.ids import new_id, task_id_for_key
from hivewire.subjects import BROKER
from hivewire.submission import from_mapping
from hivewire.views import Batch, BatchItem


class Taken(msgspec.Struct, frozen=True):
    """A task that the broker took. `created` is False when it was known before."""

    task_id: str
    created: bool


Outcome = Taken | HivewireError
Progress = Callable[[int], None]


async def submit(
    connection: Connection, tasks: Sequence[Submit | Mapping[str, Any]], progress: Progress | None = None
) -> list[Outcome]:
    """Submit tasks, which may depend on one another by id or by key, in any order.

    Args:
        connection: whose tasks they are.
        tasks: structs, or mappings with the fields of a task.
        progress: is told how many tasks were dealt with each time some were.

    Returns:
        What became of each task, in their order. What was refused keeps nobody else from being taken.
    """
    return await _Bulk(connection, progress or (lambda _: None)).submit(tasks)


class _Bulk:
    def __init__(self, connection: Connection, progress: Progress) -> None:
        self._connection = connection
        self._progress = progress
        self._outcomes: dict[int, Outcome] = {}

    async def submit(self, tasks: Sequence[Submit | Mapping[str, Any]]) -> list[Outcome]:
        named = self._named(tasks)
        order = batch.order(named)
        for index, reason in order.refused.items():
            self._settle(index, RefusedError(reason))
        bodies = self._encoded(named, order.indexes)
        unreachable: NotReachable | None = None
        for chunk in batch.chunks(bodies, self._connection.message_bytes_max):
            if unreachable is None:
                unreachable = await self._send(chunk)
            if unreachable is not None:
                for index in chunk.indexes:
                    self._settle(index, unreachable)
        return [self._outcomes[index] for index in range(len(tasks))]

    def _settle(self, index: int, outcome: Outcome) -> None:
        self._outcomes[index] = outcome
        self._progress(1)

    def _named(self, tasks: Sequence[Submit | Mapping[str, Any]]) -> dict[int, Submit]:
        """The tasks that are well formed, each named by an id or a key: a repeat of the command means the same tasks."""
        named = {}
        for index, task in enumerate(tasks):
            try:
                submit = task if isinstance(task, Submit) else from_mapping(task)
            except HivewireError as error:
                self._settle(index, error)
                continue
            named[index] = submit
        ids = {index: self._id(task) for index, task in named.items()}
        keys = {task.idempotency_key: ids[index] for index, task in named.items() if task.idempotency_key}
        return {
            index: msgspec.structs.replace(
                task,
                id=task.id if task.idempotency_key else ids[index],
                depends_on=[keys.get(other, other) for other in task.depends_on],
            )
            for index, task in named.items()
        }

    def _id(self, task: Submit) -> str:
        if task.id or not task.idempotency_key:
            return task.id or new_id()
        return task_id_for_key(self._connection.subjects.hive, self._connection.sender, task.idempotency_key)

    def _encoded(self, named: Mapping[int, Submit], indexes: Sequence[int]) -> list[tuple[int, bytes]]:
        bodies = []
        for index in indexes:
            try:
                bodies.append((index, batch.encoded(named[index], self._connection.message_bytes_max)))
            except RefusedError as error:
                self._settle(index, error)
        return bodies

    async def _send(self, chunk: batch.Chunk) -> NotReachable | None:
        command = SubmitBatch([msgspec.Raw(body) for body in chunk.bodies])
        try:
            reply = await self._connection.command(BROKER, "submit_batch", command, Batch)
        except NotReachable as error:
            return error
        except HivewireError as error:
            for index in chunk.indexes:
                self._settle(index, error)
            return None
        for index, item in zip(chunk.indexes, reply.items, strict=True):
            self._settle(index, _outcome(item))
        return None


def _outcome(item: BatchItem) -> Outcome:
    if item.error is not None or item.task_id is None:
        return RefusedError(item.error or "refused without a reason")
    return Taken(item.task_id, item.created is not False)
