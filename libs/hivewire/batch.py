"""Many tasks in few commands: in which order they go, and how many fit into one command. Pure."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hivewire import codec, limits
from hivewire.commands.broker import Submit
from hivewire.errors import RefusedError

CHUNK_OVERHEAD_BYTES = 1_024
"""Envelope, headers and brackets around the tasks of one command, generously."""


@dataclass(frozen=True, slots=True)
class Order:
    """The tasks by index, each after those of the batch that it depends on; and what can never have an order."""

    indexes: list[int]
    refused: dict[int, str]


def order(ids: Mapping[int, str], depends_on: Mapping[int, Sequence[str]]) -> Order:
    """Put tasks that depend on others of the batch after these; else their order is kept.

    Args:
        ids: the ids of those that can be depended on, by their index.
        depends_on: the ids that it depends on, in the batch or not.
    """
    indexes = {task_id: index for index, task_id in ids.items()}
    waits = {index: {indexes[other] for other in others if other in indexes} for index, others in depends_on.items()}
    dependents: dict[int, list[int]] = {}
    for index, needed in waits.items():
        for other in needed:
            dependents.setdefault(other, []).append(index)
    ready = deque(index for index, needed in waits.items() if not needed)
    ordered = []
    while ready:
        index = ready.popleft()
        ordered.append(index)
        for dependent in dependents.get(index, ()):
            waits[dependent].discard(index)
            if not waits[dependent]:
                ready.append(dependent)
    left = waits.keys() - set(ordered)
    refused = dict.fromkeys(sorted(left), "it depends on itself, or on a task of the batch that does")
    return Order(ordered, refused)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What goes into one command: indexes, and the encoded task of each."""

    indexes: list[int]
    bodies: list[bytes]


def chunks(bodies: Iterable[tuple[int, bytes]], bytes_max: int) -> Iterator[Chunk]:
    """Cut encoded tasks into commands of at most 1,000 tasks and `bytes_max` bytes, in their order, as they come."""
    chunk, size = Chunk([], []), CHUNK_OVERHEAD_BYTES
    for index, body in bodies:
        if chunk.indexes and (size + len(body) > bytes_max or len(chunk.indexes) == limits.BATCH_ITEMS_MAX):
            yield chunk
            chunk, size = Chunk([], []), CHUNK_OVERHEAD_BYTES
        chunk.indexes.append(index)
        chunk.bodies.append(body)
        size += len(body) + 1
    if chunk.indexes:
        yield chunk


def encoded(task: Submit, bytes_max: int) -> bytes:
    """One task as it stands in a batch.

    Raises:
        RefusedError: it is too large for a command of its own (413), or the broker takes no such task (400).
    """
    body = codec.encode(task)
    problem = codec.decode_as(body, Submit, "task")
    if isinstance(problem, codec.Malformed):
        raise RefusedError(problem.reason, status=400)
    if len(body) + CHUNK_OVERHEAD_BYTES > bytes_max:
        raise RefusedError(f"the task is too large: {len(body)} bytes, {bytes_max} are allowed", status=413)
    return body
