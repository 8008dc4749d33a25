"""Tasks: what their agents report, and changes."""

from typing import Literal

import msgspec

from hivewire import fields, reads, views
from hivewire.commands import CATALOGUE, broker
from hivewire.errors import RefusedError
from hivewire.subjects import BROKER, OPERATOR
from hivewire_agent_gateway.door.calls import Call
from hivewire_agent_gateway.door.table import Own


class TaskPatch(msgspec.Struct, omit_defaults=True):
    """What may be changed of a task. `status` can only become `cancelled`, for a `reason`, and nothing else with it."""

    status: Literal["cancelled"] | None = None
    reason: fields.Text = ""
    metadata: msgspec.Raw = fields.ABSENT
    labels: fields.Labels | None = None
    priority: fields.Priority | Literal["high", "medium", "low"] | None = None
    timeout_seconds: fields.TimeoutS | None = None
    depends_on: fields.Dependencies | None = None


class Report(msgspec.Struct, omit_defaults=True):
    """What every report may say. Without `attempt` the agent must have held a single attempt of the task."""

    attempt: fields.Attempt | None = None
    instance: fields.Token | None = None


class HowFar(Report, omit_defaults=True):
    """How far an attempt is, as a fraction of 1, with a note for people."""

    progress: fields.Fraction | None = None
    message: fields.Text = ""


class Completion(Report, omit_defaults=True):
    """The work is done. Whoever holds no attempt of the task says so as its owner or as an operator."""

    result: msgspec.Raw = fields.NULL
    cost: broker.Cost | None = None


class Failure(Report, omit_defaults=True):
    """The work could not be done. `retry` false: another attempt would fail the same way."""

    error: fields.ErrorText = ""
    retry: bool = True


async def patch(call: Call) -> object:
    """Change a task, or cancel it."""
    wanted = call.decode(TaskPatch)
    verb = "update" if wanted.status is None else "cancel"
    await call.command(BROKER, verb, call.decode(CATALOGUE[BROKER][verb], **call.path))
    return await call.read(BROKER, "task", reads.OneTask(call.path["task_id"]))


async def history(call: Call) -> object:
    """The events of a task, which must exist."""
    await call.read(BROKER, "task", call.named(reads.OneTask))
    query = call.parameters(reads.ListEvents, entity_id=call.path["task_id"], type="task")
    return await call.page(BROKER, "events", query)


HISTORY = Own(history, parameters=reads.ListEvents, unsaid=("entity_id", "type"))


async def start(call: Call) -> object:
    """The agent begins."""
    return await _report(call, "start", call.decode(Report))


async def progress(call: Call) -> object:
    """How far the agent is."""
    return await _report(call, "progress", call.decode(HowFar))


async def fail(call: Call) -> object:
    """The agent could not do it."""
    return await _report(call, "fail", call.decode(Failure))


async def complete(call: Call) -> object:
    """The agent is done; or the owner or an operator says that a task without an agent is."""
    told = call.decode(Completion)
    task = await _task(call)
    held = any(attempt.agent_id == call.caller.id for attempt in task.attempts)
    if held or told.attempt is not None:
        return await _report(call, "complete", told, task)
    done = broker.Complete(task.task_id, result=told.result, cost=told.cost)
    if call.caller.id == task.owner:
        return await call.command(BROKER, "complete", done)
    if call.caller.role == "operator":
        return await call.command(BROKER, "complete", done, sender=OPERATOR)
    raise _not_held(call, task)


async def _task(call: Call) -> views.TaskView:
    task: views.TaskView = await call.read(BROKER, "task", call.named(reads.OneTask), views.TaskView)
    return task


async def _report(call: Call, verb: str, told: Report, task: views.TaskView | None = None) -> object:
    """What an agent tells of the attempt that it holds."""
    attempt = _attempt(call, task or await _task(call), told.attempt)
    instance = told.instance or attempt.instance
    data = call.decode(CATALOGUE[BROKER][verb], **call.path, attempt=attempt.attempt, instance=instance)
    return await call.command(BROKER, verb, data)


def _attempt(call: Call, task: views.TaskView, number: int | None) -> views.AttemptView:
    """The attempt that a report is about.

    Raises:
        RefusedError: the caller has none (403), or has to say which (409).
    """
    own = {attempt.attempt: attempt for attempt in task.attempts if attempt.agent_id == call.caller.id}
    if not own:
        raise _not_held(call, task)
    if number is None and len(own) > 1:
        raise RefusedError(f"{call.caller.id!r} had several attempts of task {task.task_id}: say which `attempt`", 409)
    found = next(iter(own.values())) if number is None else own.get(number)
    if found is None:
        raise RefusedError(f"attempt {number} of task {task.task_id} is not {call.caller.id}'s", 409)
    return found


def _not_held(call: Call, task: views.TaskView) -> RefusedError:
    return RefusedError(f"{call.caller.id!r} has no attempt of task {task.task_id}", 403)
