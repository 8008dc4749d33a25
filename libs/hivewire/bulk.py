"""Submitting any number of tasks, a thousand a command."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from hivewire import batch, limits
from hivewire.commands.broker import Submit, SubmitBatch
from hivewire.connection import Connection
from hivewire.errors import UNPROCESSABLE, HivewireError, NotReachable, RefusedError
from hivewire.ids import new_id, task_id_for_key
from hivewire.subjects import BROKER
from hivewire.submission import from_mapping
from hivewire.views import Batch, BatchItem


class Taken(msgspec.Struct, frozen=True):
    """A task that the broker took. `created` is False when it was known before."""

    task_id: str
    created: bool


Task = Submit | Mapping[str, Any]
Outcome = Taken | HivewireError
Progress = Callable[[int], None]


async def submit(connection: Connection, tasks: Sequence[Task], progress: Progress | None = None) -> list[Outcome]:
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

    async def submit(self, tasks: Sequence[Task]) -> list[Outcome]:
        wanted = self._wanted(tasks)
        order = batch.order(
            {index: task_id for index, (task_id, _) in wanted.items() if task_id},
            {index: task.depends_on for index, (_, task) in wanted.items()},
        )
        for index, reason in order.refused.items():
            self._settle(index, RefusedError(reason))
        bodies = self._encoded({index: task for index, (_, task) in wanted.items()}, order.indexes)
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

    def _wanted(self, tasks: Sequence[Task]) -> dict[int, tuple[str | None, Submit]]:
        """The tasks that are well formed, each with the id by which others may depend on it, and their dependencies by
        id."""
        names = [_names(task) for task in tasks]
        ids = [self._id(*name) for name in names]
        known = {key: task_id for (_, key), task_id in zip(names, ids, strict=True) if key and task_id}
        found = {}
        for index, task in enumerate(tasks):
            try:
                submit = _taken(task, known)
            except HivewireError as error:
                self._settle(index, error)
                continue
            found[index] = (ids[index], submit)
        return found

    def _id(self, task_id: str | None, key: str | None) -> str | None:
        if task_id or not key:
            return task_id
        return task_id_for_key(self._connection.subjects.hive, self._connection.sender, key)

    def _encoded(self, of_index: Mapping[int, Submit], indexes: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        for index in indexes:
            try:
                yield index, batch.encoded(named(of_index[index]), self._connection.message_bytes_max)
            except RefusedError as error:
                self._settle(index, error)

    async def _send(self, chunk: batch.Chunk) -> NotReachable | None:
        try:
            outcomes = await send(self._connection, chunk.bodies, limits.REQUEST_TIMEOUT_S)
        except NotReachable as error:
            return error
        except HivewireError as error:
            outcomes = [error] * len(chunk.indexes)
        for index, outcome in zip(chunk.indexes, outcomes, strict=True):
            self._settle(index, outcome)
        return None


def _names(task: Task) -> tuple[str | None, str | None]:
    """The id and the key that a task was given."""
    if isinstance(task, Submit):
        return task.id, task.idempotency_key
    task_id, key = task.get("id"), task.get("key", task.get("idempotency_key"))
    return task_id if isinstance(task_id, str) else None, key if isinstance(key, str) else None


def _taken(task: Task, known: Mapping[str, str]) -> Submit:
    if isinstance(task, Submit):
        return msgspec.structs.replace(task, depends_on=[known.get(other, other) for other in task.depends_on])
    return from_mapping(task, known)


def named(task: Submit) -> Submit:
    """The task with a name, so that a repeat of the command that it is in means the same task. One made just before it is
    sent is known to be new."""
    return task if task.id or task.idempotency_key else msgspec.structs.replace(task, id=new_id())


async def send(connection: Connection, bodies: Sequence[bytes], timeout_s: float) -> list[Outcome]:
    """Send encoded tasks as one command; returns what became of each.

    Raises:
        HivewireError: what `Connection.command` raises.
    """
    command = SubmitBatch([msgspec.Raw(body) for body in bodies])
    reply = await connection.command(BROKER, "submit_batch", command, Batch, timeout_s=timeout_s)
    return [_outcome(item) for item in reply.items]


def _outcome(item: BatchItem) -> Outcome:
    if item.error is not None or item.task_id is None:
        return RefusedError(item.error or "refused without a reason", item.error_status or UNPROCESSABLE)
    return Taken(item.task_id, item.created is not False)
