"""Which tasks a command could be about, and by what the age of their ids is known."""

from hivewire import codec
from hivewire.commands.broker import Submit, SubmitBatch, Update
from hivewire.ids import new_id, task_id_for_key, task_id_in_batch
from hivewire_broker.naming import Named, named_tasks
from hivewire_service.core import Command

HIVE, SENDER = "hive", "sender"


def named(data, verb: str = "submit") -> tuple[str, list[Named]]:
    command = Command(id=new_id(), verb=verb, sender=SENDER, data=data)
    return command.id, list(named_tasks(HIVE, command))


def itself(task_id: str) -> Named:
    return Named(task_id, task_id)


def test_a_task_without_a_name_is_that_of_its_command():
    command_id, found = named(Submit(title="t"))
    assert found == [itself(command_id)]


def test_a_task_without_a_name_in_a_batch_is_no_older_than_its_command():
    given = new_id()
    batch = SubmitBatch([codec.raw(Submit(title="t")), codec.raw(Submit(title="t", id=given))])
    command_id, found = named(batch, "submit_batch")
    assert found == [Named(task_id_in_batch(command_id, 0), command_id), itself(given)]


def test_what_is_named_by_its_sender_tells_its_own_age():
    given = new_id()
    assert named(Submit(title="t", id=given))[1] == [itself(given)]
    by_key = itself(task_id_for_key(HIVE, SENDER, "key"))
    assert named(Submit(title="t", idempotency_key="key"))[1] == [by_key]


def test_references_are_ids_or_keys_and_always_looked_at():
    reference = new_id()
    _, found = named(Submit(title="t", depends_on=[reference]))
    assert found[1:] == [itself(reference), itself(task_id_for_key(HIVE, SENDER, reference))]
    _, found = named(Update(task_id="t", depends_on=[reference]), "update")
    assert found == [itself("t"), itself(reference)]
