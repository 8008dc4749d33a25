"""Tasks over HTTP."""

from typing import Any

import msgspec
from starlette.responses import Response

from hivewire import fields, reads, views
from hivewire.commands import CATALOGUE, broker
from hivewire.errors import RefusedError
from hivewire.subjects import BROKER
from hivewire_agent_gateway.door.calls import AGENTS, Call, Handler, Route, json_response
from hivewire_agent_gateway.door.plain import API, reading


class TaskPatch(msgspec.Struct, omit_defaults=True):
    """What may be changed of a task. `status` can only become `cancelled`."""

    status: str | None = None
    reason: fields.Text = ""
    metadata: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    priority: Any = None
    labels: fields.Labels | None = None
    timeout_seconds: fields.TimeoutS | None = None


class Report(msgspec.Struct, omit_defaults=True):
    """What every report may say. Without `attempt` the agent must have held a single attempt of the task."""

    attempt: fields.Attempt | None = None
    instance: fields.Token | None = None


async def submit(call: Call) -> Response:
    """201 with the task, 200 if it was known before."""
    brief = await call.command(BROKER, "submit", call.decode(broker.Submit), views.TaskBrief)
    task = await call.read(BROKER, "task", reads.OneTask(brief.task_id))
    return json_response(task, 201 if brief.created else 200)


async def submit_batch(call: Call) -> Response:
    """Each task is taken or refused by itself."""
    return json_response(await call.command(BROKER, "submit_batch", call.decode(broker.SubmitBatch)))


async def patch(call: Call) -> Response:
    """Change a task, or cancel it."""
    wanted = call.decode(TaskPatch)
    task_id = call.path["task_id"]
    if wanted.status is not None:
        if wanted.status != "cancelled":
            raise RefusedError("status can only be changed to 'cancelled'", 422)
        cancel = call.decode(broker.Cancel, task_id=task_id)
        await call.command(BROKER, "cancel", cancel)
    elif "update" in CATALOGUE[BROKER]:
        await call.command(BROKER, "update", call.decode(CATALOGUE[BROKER]["update"], task_id=task_id))
    else:
        raise RefusedError('only {"status": "cancelled"} can be changed of a task', 422)
    return json_response(await call.read(BROKER, "task", reads.OneTask(task_id)))


async def events(call: Call) -> Response:
    """The history of a task."""
    await call.read(BROKER, "task", call.parameters_of_path(reads.OneTask, "task_id"))
    query = call.parameters(reads.ListEvents, entity_id=call.path["task_id"], type="task")
    return json_response(await call.read(BROKER, "events", query))


def reporting(verb: str) -> Handler:
    """A handler of what an agent reports of the attempt that it holds."""
    kind = CATALOGUE[BROKER][verb]

    async def handle(call: Call) -> Response:
        told = call.decode(Report)
        task = await call.read(BROKER, "task", call.parameters_of_path(reads.OneTask, "task_id"), views.TaskView)
        attempt = _attempt(task, call.caller.id, told.attempt)
        data = call.decode(
            kind, task_id=task.task_id, attempt=attempt.attempt, instance=told.instance or attempt.instance
        )
        return json_response(await call.command(BROKER, verb, data))

    return handle


def _attempt(task: views.TaskView, agent_id: str, number: int | None) -> views.AttemptView:
    """The attempt that a report is about.

    Raises:
        RefusedError: the agent has none (403), or it has to say which (409).
    """
    own = [attempt for attempt in task.attempts if attempt.agent_id == agent_id]
    if not own:
        raise RefusedError(f"{agent_id!r} has no attempt of task {task.task_id}", 403)
    if number is None:
        if len(own) > 1:
            raise RefusedError(f"{agent_id!r} had several attempts of task {task.task_id}: say which `attempt`", 409)
        return own[0]
    found = next((attempt for attempt in own if attempt.attempt == number), None)
    if found is None:
        raise RefusedError(f"attempt {number} of task {task.task_id} is not {agent_id}'s", 409)
    return found


_TASK = f"{API}/tasks/{{task_id}}"

ROUTES = [
    Route(
        "POST",
        f"{API}/tasks",
        "Submit a task",
        submit,
        body=broker.Submit,
        answer=views.TaskView,
        status=201,
        statuses=(200,),
        tag="tasks",
    ),
    Route(
        "POST",
        f"{API}/tasks/batch",
        "Submit up to 1,000 tasks",
        submit_batch,
        body=broker.SubmitBatch,
        answer=views.Batch,
        tag="tasks",
    ),
    Route(
        "GET",
        f"{API}/tasks",
        "List tasks, newest first",
        reading(BROKER, "tasks", reads.ListTasks),
        parameters=reads.ListTasks,
        answer=views.Page,
        tag="tasks",
    ),
    Route(
        "GET",
        _TASK,
        "Show a task with its attempts",
        reading(BROKER, "task", reads.OneTask, "task_id"),
        answer=views.TaskView,
        tag="tasks",
    ),
    Route("PATCH", _TASK, "Change or cancel a task", patch, body=TaskPatch, answer=views.TaskView, tag="tasks"),
    Route(
        "GET",
        f"{_TASK}/events",
        "A task's history",
        events,
        parameters=reads.ListEvents,
        given=("entity_id", "type"),
        answer=views.Page,
        tag="tasks",
    ),
    Route(
        "GET",
        f"{_TASK}/explain",
        "Why an attempt went to its agent",
        reading(BROKER, "explain", reads.Explain, "task_id"),
        parameters=reads.Explain,
        given=("task_id",),
        answer=views.Explanation,
        tag="tasks",
    ),
    Route(
        "GET",
        f"{_TASK}/why",
        "Why a task is where it is",
        reading(BROKER, "why", reads.OneTask, "task_id"),
        answer=views.Why,
        tag="tasks",
    ),
    *(
        Route(
            "POST",
            f"{_TASK}/{verb}",
            summary,
            reporting(verb),
            roles=AGENTS,
            body=CATALOGUE[BROKER][verb],
            given=("task_id", "attempt", "instance"),
            answer=views.TaskBrief,
            tag="tasks",
        )
        for verb, summary in (
            ("start", "The agent begins"),
            ("progress", "How far the agent is"),
            ("complete", "The agent is done"),
            ("fail", "The agent could not do it"),
        )
    ),
]
