"""Between tasks and their rows: what is written of a task, and a task made from what was written."""

from collections.abc import Iterable
from typing import Any

import asyncpg
import msgspec

from hivewire import codec, fields
from hivewire.commands.broker import Backoff
from hivewire.events.task import TaskAssigned, TaskCreated, TaskUpdated
from hivewire.inbox import TaskDispatch
from hivewire_broker.evolve import PLANNING, is_by_name_only, kinship
from hivewire_broker.moments import microseconds
from hivewire_broker.state import State
from hivewire_broker.task import Attempt, Task

_backoffs = msgspec.json.Decoder(Backoff)
_labels = msgspec.json.Decoder(dict[str, str])


def content_row(created: TaskCreated) -> tuple[Any, ...]:
    """What the sender said, in the order of `insert_tasks`."""
    return (
        created.title,
        created.sender,
        created.owner,
        created.content_hash,
        created.created_at,
        created.idempotency_key,
        created.description,
        array_text(created.required_capabilities),
        created.priority,
        created.timeout_seconds,
        created.start_timeout_seconds,
        created.max_retries,
        json_text(created.backoff),
        created.source,
        created.parent_task_id,
        codec.text(created.metadata),
        json_text(created.labels),
        array_text(created.depends_on),
        created.on_dependency_failure,
        created.phase_id,
        created.task_type,
        created.category,
        created.requires_approval,
        codec.text(created.payload),
        created.not_before,
        created.risk,
        created.complexity,
        created.verifiability,
        created.reversibility,
        array_text(created.files),
        created.concurrency_key,
        created.max_concurrent,
        created.correlationid,
        created.traceparent,
    )


def status_row(task: Task, result: str | None) -> tuple[Any, ...]:
    """How the task stands, in the order of `insert_tasks` and `update_tasks`."""
    last = None if task.status in {"pending", "blocked"} else task.attempt
    return (
        task.status,
        task.queued,
        task.unmatched,
        len(task.attempts),
        last and last.agent_id,
        task.retries_used,
        task.lost_count,
        task.retry_at,
        task.blocked_by,
        task.reason,
        task.error,
        task.progress,
        task.progress_message,
        task.deadline,
        last and last.started_at,
        task.ended_at,
        result,
        task.feedback,
        task.waits_for,
        task.waits_until,
    )


def update_row(update: TaskUpdated | None) -> tuple[Any, ...]:
    """What was changed of what the sender said, in the order of `update_tasks`; None: it stays."""
    if update is None:
        return (None, None, None, None, None)
    return (
        update.priority,
        update.timeout_seconds,
        None if update.labels is None else json_text(update.labels),
        None if update.metadata is fields.ABSENT else codec.text(update.metadata),
        None if update.depends_on is None else array_text(update.depends_on),
    )


def merged(earlier: TaskUpdated | None, later: TaskUpdated) -> TaskUpdated:
    """Two updates of a task as one."""
    return later if earlier is None else msgspec.structs.replace(earlier, **_given(later))


def updated(created: TaskCreated, update: TaskUpdated) -> TaskCreated:
    """What was said of a task, as it was changed later."""
    changes = _given(update)
    del changes["by"], changes["task_id"]
    return msgspec.structs.replace(created, **changes)


def _given(update: TaskUpdated) -> dict[str, Any]:
    said = msgspec.structs.asdict(update)
    return {name: value for name, value in said.items() if value is not None and value is not fields.ABSENT}


def attempt_row(attempt: Attempt) -> tuple[Any, ...]:
    """How the attempt stands, in the order of `insert_attempts` and `update_attempts`."""
    return attempt.status, attempt.started_at, attempt.ended_at, attempt.error, attempt.cost


def assigned_row(assigned: TaskAssigned, decision: str | None) -> tuple[Any, ...]:
    """What never changes of an attempt, in the order of `insert_attempts`."""
    return (
        assigned.task_id,
        assigned.attempt,
        assigned.agent_id,
        assigned.instance,
        assigned.assigned_at,
        assigned.score,
        assigned.reason,
        assigned.oversight,
        decision,
    )


def task_of(state: State, row: asyncpg.Record, attempts: tuple[Attempt, ...]) -> Task:
    """A task as it was written; its requirements are shared with others of the state, which knows its phase."""
    initiative = state.initiative_of(row["phase_id"])
    return Task(
        task_id=row["task_id"],
        content_hash=row["content_hash"],
        ordinal=row["ordinal"],
        requirements=state.requirements(row["owner"], row["required_capabilities"]),
        created_us=microseconds(row["created_at"]),
        priority=row["priority"],
        timeout_s=row["timeout_seconds"],
        start_timeout_s=row["start_timeout_seconds"],
        max_retries=row["max_retries"],
        backoff=state.backoff(_backoffs.decode(row["backoff"])),
        on_dependency_failure=row["on_dependency_failure"],
        by_name_only=is_by_name_only(row["type"], row["category"]),
        depends_on=tuple(row["depends_on"]),
        kinship=kinship(
            _labels.decode(row["labels"]),
            parent_task_id=row["parent_task_id"],
            phase_id=row["phase_id"],
            initiative_id=initiative.initiative_id if initiative else None,
            files=row["files"],
        ),
        phase_id=row["phase_id"],
        planning=row["category"] in PLANNING,
        requires_approval=row["requires_approval"],
        risk=row["risk"],
        complexity=row["complexity"],
        verifiability=row["verifiability"],
        reversibility=row["reversibility"],
        concurrency_key=row["concurrency_key"],
        max_concurrent=row["max_concurrent"] or 1,
        not_before=row["not_before"],
        deadline=row["deadline"],
        status=row["status"],
        queued=row["queued"],
        unmatched=row["unmatched"],
        retries_used=row["retries_used"],
        lost_count=row["lost_count"],
        retry_at=row["retry_at"],
        waits_for=row["waits_for"],
        waits_until=row["waits_until"],
        blocked_by=row["blocked_by"],
        reason=row["reason"],
        feedback=row["feedback"],
        error=row["error"],
        progress=row["progress"],
        progress_message=row["progress_message"],
        ended_at=row["ended_at"],
        attempts=attempts,
    )


def attempt_of(row: asyncpg.Record) -> Attempt:
    """An attempt as it was written. Its dispatch is taken to be sent when it was assigned."""
    return Attempt(
        number=row["attempt"],
        agent_id=row["agent_id"],
        instance=row["instance"],
        assigned_at=row["assigned_at"],
        status=row["status"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        error=row["error"],
        oversight=row["oversight"],
        cost=row["cost"],
        sent_at=row["assigned_at"],
    )


def created_of(row: asyncpg.Record) -> TaskCreated:
    """The event that created a task, from its row. A deadline that was lifted since is missing."""
    return TaskCreated(
        task_id=row["task_id"],
        title=row["title"],
        sender=row["sender"],
        owner=row["owner"],
        content_hash=row["content_hash"],
        created_at=row["created_at"],
        idempotency_key=row["idempotency_key"],
        description=row["description"],
        required_capabilities=row["required_capabilities"],
        priority=row["priority"],
        timeout_seconds=row["timeout_seconds"],
        start_timeout_seconds=row["start_timeout_seconds"],
        max_retries=row["max_retries"],
        backoff=_backoffs.decode(row["backoff"]),
        source=row["source"],
        parent_task_id=row["parent_task_id"],
        metadata=msgspec.Raw(row["metadata"].encode()),
        labels=_labels.decode(row["labels"]),
        depends_on=row["depends_on"],
        on_dependency_failure=row["on_dependency_failure"],
        phase_id=row["phase_id"],
        task_type=row["type"],
        category=row["category"],
        requires_approval=row["requires_approval"],
        payload=msgspec.Raw(row["payload"].encode()),
        not_before=row["not_before"],
        deadline=row["deadline"],
        risk=row["risk"],
        complexity=row["complexity"],
        verifiability=row["verifiability"],
        reversibility=row["reversibility"],
        files=row["files"],
        concurrency_key=row["concurrency_key"],
        max_concurrent=row["max_concurrent"],
        correlationid=row["correlationid"],
        traceparent=row["traceparent"],
    )


def dispatch_of(created: TaskCreated, task: Task, attempt: Attempt) -> TaskDispatch:
    """What an agent is given to work on."""
    return TaskDispatch(
        task_id=created.task_id,
        attempt=attempt.number,
        instance=attempt.instance,
        feedback=task.feedback,
        oversight=attempt.oversight,
        title=created.title,
        description=created.description,
        type=created.task_type,
        category=created.category,
        owner=created.owner,
        required_capabilities=created.required_capabilities,
        priority=created.priority,
        timeout_seconds=created.timeout_seconds,
        deadline=created.deadline,
        depends_on=created.depends_on,
        labels=created.labels,
        metadata=created.metadata,
        payload=created.payload,
        files=created.files,
        phase_id=created.phase_id,
        parent_task_id=created.parent_task_id,
        correlationid=created.correlationid,
        traceparent=created.traceparent,
    )


def json_text(value: object) -> str:
    """A value as JSON text."""
    return codec.encode(value).decode()


def array_text(items: Iterable[str]) -> str:
    """A list of texts as Postgres writes arrays: lists of different lengths cannot be unnested otherwise."""
    quoted = ('"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items)
    return "{" + ",".join(quoted) + "}"
