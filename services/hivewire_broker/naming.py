"""Which tasks a command names: what must be in memory before it is decided."""

from collections.abc import Iterator

from hivewire import codec
from hivewire.commands.broker import Submit, SubmitBatch, Update
from hivewire.ids import task_id_for_key, task_id_in_batch
from hivewire_service.core import Command


def task_id_of(hive: str, sender: str, submit: Submit) -> str | None:
    """The id that the sender gave a task, itself or through an idempotency key."""
    if submit.id is None and submit.idempotency_key is not None:
        return task_id_for_key(hive, sender, submit.idempotency_key)
    return submit.id


def named_tasks(hive: str, command: Command) -> Iterator[str]:
    """The ids of all tasks that a command could be about, whether they exist or not."""
    match command.data:
        case Submit() as submit:
            yield from _named_by(hive, command.sender, submit, command.id)
        case SubmitBatch() as batch:
            for index, raw in enumerate(batch.tasks):
                submit_or_not = codec.decode_as(raw, Submit, "task")
                if isinstance(submit_or_not, Submit):
                    yield from _named_by(hive, command.sender, submit_or_not, task_id_in_batch(command.id, index))
        case Update() as update:
            yield from (update.task_id, *(update.depends_on or ()))
        case data if (task_id := getattr(data, "task_id", None)) is not None:
            yield task_id


def _named_by(hive: str, sender: str, submit: Submit, unnamed: str) -> Iterator[str]:
    yield task_id_of(hive, sender, submit) or unnamed
    for reference in submit.depends_on:
        # A dependency may be named by its id or by the key under which the same sender submitted it.
        yield reference
        yield task_id_for_key(hive, sender, reference)
