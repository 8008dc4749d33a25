"""Which tasks a command names: what must be in memory before it is decided."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import msgspec

from hivewire import codec
from hivewire.commands.broker import ReportBatch, Submit, SubmitBatch, Update
from hivewire.ids import task_id_for_key, task_id_in_batch
from hivewire_service.core import Command


class Names(msgspec.Struct, gc=False):
    """What of a task of a batch says which tasks it is about. The rest is read when the batch is decided."""

    id: str | None = None
    idempotency_key: str | None = None
    depends_on: list[str] = []


def task_id_of(hive: str, sender: str, submit: Submit | Names) -> str | None:
    """The id that the sender gave a task, itself or through an idempotency key."""
    if submit.id is None and submit.idempotency_key is not None:
        return task_id_for_key(hive, sender, submit.idempotency_key)
    return submit.id


class Named(NamedTuple):
    """A task that a command could be about, whether it exists or not."""

    task_id: str
    dated_by: str
    """The id that was made no later than the task's own, and may tell when: itself, or that of its command."""


def named_tasks(hive: str, command: Command) -> Iterator[Named]:
    """All tasks that a command could be about."""
    match command.data:
        case Submit() as submit:
            yield from _named_by(hive, command, submit, lambda: command.id)
        case SubmitBatch() as batch:
            for index, raw in enumerate(batch.tasks):
                names = codec.decode_as(raw, Names, "task")
                if isinstance(names, Names):
                    yield from _named_by(hive, command, names, partial(task_id_in_batch, command.id, index))
        case ReportBatch() as batch:
            yield from (_itself(report.task_id) for report in batch.reports)
        case Update() as update:
            yield from map(_itself, (update.task_id, *(update.depends_on or ())))
        case data if (task_id := getattr(data, "task_id", None)) is not None:
            yield _itself(task_id)


def _named_by(hive: str, command: Command, submit: Submit | Names, unnamed: Callable[[], str]) -> Iterator[Named]:
    task_id = task_id_of(hive, command.sender, submit)
    yield Named(unnamed(), command.id) if task_id is None else _itself(task_id)
    for reference in submit.depends_on:
        # A dependency may be named by its id or by the key under which the same sender submitted it.
        yield _itself(reference)
        yield _itself(task_id_for_key(hive, command.sender, reference))


def _itself(task_id: str) -> Named:
    return Named(task_id, task_id)
