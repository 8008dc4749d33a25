"""Taking tasks: one by one. What was said is normalised once, here, so that a repeat is recognised as one."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from hivewire import codec, fields
from hivewire.commands.broker import Submit
from hivewire.events.task import TaskCreated, TaskQueued
from hivewire.ids import task_id_for_key
from hivewire.subjects import is_token
from hivewire.views import TERMINAL, TaskStatus
from hivewire_broker.dependents import block_for, cancel_for
from hivewire_broker.draft import Draft
from hivewire_broker.evolve import PLANNING
from hivewire_broker.naming import task_id_of
from hivewire_broker.state import State
from hivewire_service.core import Command, Refusal

_HASH_BYTES: Final = 16


class Intake:
    """Takes the tasks of one command into one draft."""

    def __init__(self, state: State, hive: str, command: Command, now: datetime) -> None:
        self.draft = Draft()
        self._state = state
        self._hive = hive
        self._sender = command.sender
        self._correlationid, self._traceparent = command.correlationid, command.traceparent
        self._now = now
        self._hashes: dict[str, str] = {}

    def task_id(self, submit: Submit, unnamed: Callable[[], str]) -> str | Refusal:
        """The id of the task, `unnamed` if its sender gave it none."""
        task_id = task_id_of(self._hive, self._sender, submit) or unnamed()
        if submit.id is not None and submit.idempotency_key is not None:
            of_key = task_id_for_key(self._hive, self._sender, submit.idempotency_key)
            if of_key != submit.id:
                return Refusal("id and idempotency_key name different tasks: give one of them", 400)
        if not is_token(task_id):
            return Refusal(f"the command's id {task_id[:40]!r} can't be a task's id: give the task an id", 400)
        return task_id

    def status(self, task_id: str) -> TaskStatus | None:
        """The status of a task after the draft so far, or None if there is no such task."""
        task = self._state.tasks.get(task_id)
        return self.draft.fates.get(task_id) or (task.status if task else None)

    def accept(self, task_id: str, submit: Submit, aliases: dict[str, str] | None = None) -> bool | Refusal:
        """Take one task. Returns whether it is new.

        `aliases` are names for tasks that only hold within this command.
        """
        depends_on = [self._resolve(reference, aliases or {}) for reference in dict.fromkeys(submit.depends_on)]
        content = _content(self._sender, submit, depends_on)
        if isinstance(content, Refusal):
            return content
        content_hash = _hash(content)
        known_hash = self._known_hash(task_id)
        if known_hash == content_hash:
            return False
        if known_hash is not None:
            return Refusal(f"task {task_id} is known with other content: take another id or key", 409)
        refusal = self._impossible(task_id, submit, depends_on)
        if refusal is not None:
            return refusal
        created = TaskCreated(
            task_id=task_id,
            sender=self._sender,
            content_hash=content_hash,
            created_at=self._now,
            correlationid=self._correlationid,
            traceparent=self._traceparent,
            **content,
        )
        self._create(created)
        return True

    def _create(self, created: TaskCreated) -> None:
        task_id, depends_on = created.task_id, created.depends_on
        self._hashes[task_id] = created.content_hash
        self.draft.add(created, "pending")
        if self._is_queued_at_once(created):
            self.draft.events.append(TaskQueued(task_id=task_id, priority=created.priority, depends_on=depends_on))
        for dependency_id in depends_on:
            status = self.status(dependency_id)
            if status is not None and status in TERMINAL - {"completed"}:
                if created.on_dependency_failure == "cancel":
                    cancel_for(self.draft, task_id, dependency_id, status, self._now)
                else:
                    block_for(self.draft, task_id, dependency_id, status)
                return

    def _is_queued_at_once(self, created: TaskCreated) -> bool:
        """A task outside a phase is; one in a phase that has started too, unless it is one of planning."""
        if created.phase_id is None:
            return True
        return self._state.phases[created.phase_id].started_at is not None and created.category not in PLANNING

    def _resolve(self, reference: str, aliases: dict[str, str]) -> str:
        if reference in aliases:
            return aliases[reference]
        if self.status(reference) is not None:
            return reference
        of_key = task_id_for_key(self._hive, self._sender, reference)
        return of_key if self.status(of_key) is not None else reference

    def _known_hash(self, task_id: str) -> str | None:
        task = self._state.tasks.get(task_id)
        return task.content_hash if task else self._hashes.get(task_id)

    def _impossible(self, task_id: str, submit: Submit, depends_on: Sequence[str]) -> Refusal | None:
        if submit.phase_id is not None:
            phase = self._state.phases.get(submit.phase_id)
            if phase is None:
                return Refusal(f"there is no phase {submit.phase_id!r}: create it before its tasks")
            if phase.status == "completed":
                return Refusal(f"phase {submit.phase_id} is completed: put the task into another", 409)
        if submit.max_concurrent is not None and submit.concurrency_key is None:
            return Refusal("max_concurrent needs a concurrency_key: it limits the tasks that share the key", 400)
        for dependency_id in depends_on:
            if dependency_id in (task_id, submit.idempotency_key):
                return Refusal("the task depends on itself")
            if self.status(dependency_id) is None:
                return Refusal(f"depends_on names the unknown task {dependency_id!r}: submit it before this one")
        return None


def _content(sender: str, submit: Submit, depends_on: list[str]) -> dict[str, Any] | Refusal:
    """What the sender said of the task, in its one normal form: the fields of `TaskCreated`."""
    capabilities = sorted(set(map(fields.as_compared, submit.required_capabilities)))
    if "" in capabilities:
        return Refusal("required_capabilities has a blank entry: leave it out", 400)
    try:
        not_before, deadline = (moment and fields.utc(moment) for moment in (submit.not_before, submit.deadline))
    except OverflowError:
        return Refusal("not_before and deadline must lie between the years 1 and 9999 in UTC", 400)
    priority = submit.priority
    return {
        "title": submit.title,
        "owner": submit.owner or sender,
        "idempotency_key": submit.idempotency_key,
        "description": submit.description,
        "required_capabilities": capabilities,
        "priority": fields.PRIORITIES[priority] if isinstance(priority, str) else priority,
        "timeout_seconds": submit.timeout_seconds,
        "start_timeout_seconds": submit.start_timeout_seconds,
        "max_retries": submit.max_retries,
        "backoff": submit.backoff,
        "source": submit.source,
        "parent_task_id": submit.parent_task_id,
        "metadata": _kept(submit.metadata),
        "labels": submit.labels,
        "depends_on": depends_on,
        "on_dependency_failure": submit.on_dependency_failure,
        "phase_id": submit.phase_id,
        "task_type": submit.type,
        "category": submit.category,
        "requires_approval": submit.requires_approval,
        "payload": _kept(submit.payload),
        "not_before": not_before,
        "deadline": deadline,
        "risk": submit.risk,
        "complexity": submit.complexity,
        "verifiability": submit.verifiability,
        "reversibility": submit.reversibility,
        "files": submit.files,
        "concurrency_key": submit.concurrency_key,
        "max_concurrent": submit.max_concurrent,
    }


def _kept(raw: msgspec.Raw) -> msgspec.Raw:
    """Opaque JSON on its own: as it was decoded it would keep the whole message in memory."""
    return raw if raw is fields.NULL or raw is fields.EMPTY_OBJECT else raw.copy()


def _hash(content: dict[str, Any]) -> str:
    return hashlib.blake2b(codec.encode(content), digest_size=_HASH_BYTES).hexdigest()
