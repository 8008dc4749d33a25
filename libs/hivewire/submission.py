"""Tasks as people write them, turned into the command that the broker takes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack

import msgspec

from hivewire import codec
from hivewire.commands.broker import Backoff, Submit, Update
from hivewire.errors import BadUsage
from hivewire.fields import PRIORITIES


class TaskOptions(TypedDict, total=False):
    """What may be said of a task beside its title. Durations are seconds."""

    id: str
    key: str
    """The same key from the same sender again is the same task."""
    needs: Sequence[str]
    """Capabilities that the agent must have."""
    priority: int | str
    """0 to 10 (first), or `high` (8), `medium` (5), `low` (2)."""
    after: Sequence[Any]
    """Tasks that must be completed before, as ids or as what `submit` returned. The same as `depends_on`."""
    depends_on: Sequence[Any]
    payload: Any
    """Any JSON; the agent reads it back equal."""
    metadata: Mapping[str, Any]
    labels: Mapping[str, str]
    description: str
    owner: str
    timeout_s: float
    """From the start of an attempt to its end."""
    start_timeout_s: float
    retries: int
    backoff: Backoff
    not_before: datetime
    deadline: datetime
    on_dependency_failure: str
    """`block` or `cancel`."""
    parent: str
    source: str
    phase: str
    type: str
    category: str
    approval: bool
    files: Sequence[str]
    risk: float
    """From 0 to 1, as the next three: how bad it would be if it went wrong."""
    complexity: float
    verifiability: float
    """How well the outcome can be checked."""
    reversibility: float
    """How well it can be undone."""
    concurrency_key: str
    max_concurrent: int
    """How many tasks of the same `concurrency_key` may be with agents at once."""


class TaskChanges(TypedDict, total=False):
    """What may be changed of a task. `metadata`, `labels` and `depends_on` (ids) are replaced as a whole."""

    metadata: Mapping[str, Any]
    labels: Mapping[str, str]
    priority: int | str
    timeout_s: float
    depends_on: Sequence[str]


SHORT_NAMES = {
    "key": "idempotency_key",
    "needs": "required_capabilities",
    "after": "depends_on",
    "timeout": "timeout_seconds",
    "timeout_s": "timeout_seconds",
    "start_timeout_s": "start_timeout_seconds",
    "retries": "max_retries",
    "parent": "parent_task_id",
    "phase": "phase_id",
    "approval": "requires_approval",
}
"""The short name of a field -> its name on the wire. Both are taken."""

_OPAQUE = ("payload", "metadata")


def submission(title: str, **options: Unpack[TaskOptions]) -> Submit:
    """A task, ready to be submitted.

    Raises:
        BadUsage: an option is unknown, has a value that no task can have, or is no JSON.
    """
    return from_mapping({"title": title, **options})


def from_mapping(task: Mapping[str, Any], known: Mapping[str, str] | None = None) -> Submit:
    """A task from its fields, by their short names or those of the wire.

    Args:
        task: the fields.
        known: the ids of tasks that `depends_on` may name otherwise.

    Raises:
        BadUsage: see `submission`.
    """
    fields: dict[str, Any] = {}
    for name, value in task.items():
        wire_name = SHORT_NAMES.get(name, name)
        if wire_name not in Submit.__struct_fields__:
            raise BadUsage(f"a task has no field {name!r}")
        if wire_name in fields:
            raise BadUsage(f"{name!r} is given twice, once as {wire_name!r}")
        fields[wire_name] = value
    for name in ("depends_on", "required_capabilities"):
        if isinstance(fields.get(name), str):
            fields[name] = [fields[name]]
    if isinstance(fields.get("depends_on"), Sequence):
        fields["depends_on"] = [_id(other, known or {}) for other in fields["depends_on"]]
    if isinstance(fields.get("priority"), str) and fields["priority"] not in PRIORITIES:
        raise BadUsage(f"priority {fields['priority']!r} is none: take 0 to 10, or {', '.join(PRIORITIES)}")
    try:
        fields |= {name: codec.raw(fields[name]) for name in _OPAQUE if name in fields}
        return msgspec.convert(fields, Submit, from_attributes=True)
    except (msgspec.ValidationError, TypeError, ValueError, RecursionError) as error:
        raise BadUsage(f"not a task: {_said(error)}") from error


def _said(error: Exception) -> str:
    """The field first, then what was expected there."""
    what, _, place = str(error).partition(" - at `$.")
    return f"{place.removesuffix('`')} is wrong: {what}" if place else what


def task_update(task_id: str, **changes: Unpack[TaskChanges]) -> Update:
    """A change of a task, ready to be sent.

    Raises:
        BadUsage: a change is unknown, or has a value that no task can have.
    """
    given: dict[str, Any] = {SHORT_NAMES.get(name, name): value for name, value in changes.items()}
    if "metadata" in given:
        given["metadata"] = codec.raw(given["metadata"])
    try:
        return msgspec.convert({"task_id": task_id} | given, Update)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise BadUsage(f"not a change of a task: {_said(error)}") from error


def _id(task: Any, known: Mapping[str, str]) -> Any:
    name = getattr(task, "id", task)
    return known.get(name, name) if isinstance(name, str) else name


_lines = msgspec.json.Decoder(dict[str, msgspec.Raw])


def fields_of(line: bytes) -> dict[str, Any]:
    """The fields of a task that is written as one JSON object. What is opaque in it is passed on as it is written.

    Raises:
        BadUsage: the line is no JSON object.
    """
    try:
        return {
            name: value if name in _OPAQUE else msgspec.json.decode(value)
            for name, value in _lines.decode(line).items()
        }
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadUsage(f"not a JSON object: {error}") from error
