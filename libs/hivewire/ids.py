"""Identifiers. Senders choose them, so that repeating a message can never do a thing twice."""

import uuid_utils

_EVENT_NAMESPACE = uuid_utils.UUID("6f1c3a0e-6b5e-5c0e-9b57-0b6a3f1c8a55")
_TASK_NAMESPACE = uuid_utils.UUID("b94987fc-4193-4360-bbda-1608ce406103")
_QUESTION_NAMESPACE = uuid_utils.UUID("0d5a2f5c-7c1b-5a52-8a53-6c5c0b6a9e11")
_BATCH_NAMESPACE = uuid_utils.UUID("628facb6-8c5e-4454-84ba-34b6455a4ef0")
_SESSION_NAMESPACE = uuid_utils.UUID("0d5a3f2e-7a51-4f0b-9d43-3b8f0f6f2c11")


def new_id() -> str:
    """A UUIDv7 (RFC 9562): unique, and ordered by the time of its making."""
    return str(uuid_utils.uuid7())


def made_at_ms(any_id: str) -> int | None:
    """When a UUIDv7 in its usual spelling was made by its own word, in milliseconds since 1970; None: it is none."""
    if len(any_id) != 36 or any_id[14] != "7" or any_id[8] != "-":
        return None
    try:
        return int(any_id[:8] + any_id[9:13], 16)
    except ValueError:
        return None


def event_id(hive: str, writer: str, seq: int) -> str:
    """The UUIDv5 of an event: the same writer and `seq` always give the same id, so a repeat is recognised."""
    return str(uuid_utils.uuid5(_EVENT_NAMESPACE, f"{hive}/{writer}/{seq}"))


def task_id_for_key(hive: str, sender: str, key: str) -> str:
    """The id of the task that `sender` named by an idempotency key: the same key always names the same task."""
    # Neither a hive's name nor a sender can contain a dot, so different triples never read alike.
    return str(uuid_utils.uuid5(_TASK_NAMESPACE, f"{hive}.{sender}.{key}"))


def task_id_in_batch(command_id: str, index: int) -> str:
    """The id of a task that its sender did not name, by its place in a batch."""
    return str(uuid_utils.uuid5(_BATCH_NAMESPACE, f"{index}.{command_id}"))


def session_id_for_attempt(hive: str, task_id: str, attempt: int) -> str:
    """The id of the session that serves a task's attempt."""
    return str(uuid_utils.uuid5(_SESSION_NAMESPACE, f"{hive}.{attempt}.{task_id}"))


def question_id(asker: str, task_id: str, number: int, text: str) -> str:
    """The id of the `number`th time that a task's handler asks this: a later attempt that asks the same finds the
    answer that an earlier one did not live to see."""
    return str(uuid_utils.uuid5(_QUESTION_NAMESPACE, f"{asker}.{task_id}.{number}.{text}"))
