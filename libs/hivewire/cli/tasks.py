"""Looking at tasks and steering them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from hivewire import exit_codes
from hivewire.cli.output import (
    Column,
    ago,
    clean,
    collected,
    cut,
    duration,
    print_facts,
    print_json,
    print_json_line,
    print_table,
    say,
    width,
)
from hivewire.cli.reach import AsJson, reaches

if TYPE_CHECKING:
    from hivewire.client import Client
    from hivewire.views import AttemptView, EventView, TaskBrief, TaskView

TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task's id.", show_default=False)]
Limit = Annotated[int, typer.Option(min=1, help="How many at most.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.", show_default=False)]

GIST_CHARS_MAX = 400

TASK_COLUMNS = (
    Column("task"),
    Column("status"),
    Column("prio", spare=3, right=True),
    Column("agent", spare=1),
    Column("created", spare=2),
    Column("title", fill=True),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (tasks, task, watch, queue, cancel, retry, explain, why, stats):
        app.command(command.__name__)(reaches(command))


async def tasks(
    hive: "Client",
    *,
    status: Annotated[list[str] | None, typer.Option("--status", help="Only these; may be repeated.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    source: Annotated[str | None, typer.Option(help="Only from this source.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only those given to this agent.")] = None,
    phase: Annotated[str | None, typer.Option(help="Only those of this phase.")] = None,
    label: Annotated[str | None, typer.Option(metavar="KEY=VALUE", help="Only those with this label.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first."""
    from hivewire import limits, paging, reads, views

    query = reads.ListTasks(
        status=status or [],
        owner=owner,
        source=source,
        agent=agent,
        phase=phase,
        label=label,
        limit=limits.LIST_ITEMS_MAX,
    )
    found = await collected(paging.items(hive.connection, "broker", "tasks", query, views.TaskView, limit))
    if as_json:
        print_json(found)
    else:
        print_tasks(
            found, "There are no such tasks." if any((status, owner, source, agent, phase, label)) else NO_TASKS
        )


NO_TASKS = "There are no tasks yet: submit one with `hivewire submit TITLE`."


def print_tasks(found: "list[TaskView]", empty: str) -> None:
    """A table of tasks."""
    rows = (
        (task.task_id, task.status, task.priority, task.agent_id, ago(task.created_at), task.title) for task in found
    )
    print_table(TASK_COLUMNS, rows, empty)


async def task(hive: "Client", task_id: TaskId, *, as_json: AsJson = False) -> None:
    """Show a task and its attempts."""
    found = await hive.task(task_id)
    if as_json:
        print_json(found)
    else:
        print_task(found)


def print_task(task: "TaskView") -> None:
    """All that is known of a task."""
    progress = None if task.progress is None else f"{task.progress:.0%} {task.progress_message or ''}".rstrip()
    print_facts(
        (
            ("task", task.task_id),
            ("title", task.title),
            ("status", task.status),
            ("reason", task.reason),
            ("blocked by", task.blocked_by),
            ("agent", task.agent_id),
            ("progress", progress),
            ("error", task.error),
            ("needs", task.required_capabilities),
            ("priority", task.priority),
            ("depends on", task.depends_on),
            ("owner", task.owner),
            ("key", task.idempotency_key),
            ("labels", [f"{key}={value}" for key, value in task.labels.items()]),
            ("description", task.description),
            ("created", ago(task.created_at)),
            ("retry", ago(task.retry_at) if task.retry_at else None),
            ("not before", ago(task.not_before) if task.not_before else None),
            ("deadline", ago(task.deadline) if task.deadline else None),
            ("ended", ago(task.ended_at) if task.ended_at else None),
            ("retries", f"{task.retries_used} of {task.max_retries} used"),
            ("payload", _opaque(bytes(task.payload))),
            ("result", _opaque(bytes(task.result))),
        )
    )
    if task.attempts:
        say()
        _print_attempts(task.attempts)


def _opaque(body: bytes) -> str | None:
    text = body.decode()
    return None if text == "null" else text


def _print_attempts(attempts: "list[AttemptView]") -> None:
    columns = (
        Column("attempt", right=True),
        Column("agent"),
        Column("status"),
        Column("began"),
        Column("took", right=True),
        Column("error", fill=True),
    )
    rows = (
        (
            attempt.attempt,
            attempt.agent_id,
            attempt.status,
            ago(attempt.started_at or attempt.assigned_at),
            _took(attempt),
            (attempt.error or "").partition("\n")[0],
        )
        for attempt in attempts
    )
    print_table(columns, rows, "")


def _took(attempt: "AttemptView") -> str:
    began = attempt.started_at or attempt.assigned_at
    return duration(((attempt.ended_at or datetime.now(UTC)) - began).total_seconds())


async def watch(
    hive: "Client",
    task_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A task; without one, everything.")] = None,
    *,
    as_json: AsJson = False,
) -> int:
    """Follow a task until it has ended, or everything that happens."""
    last = ""
    async for event in hive.watch(task_id):
        if as_json:
            print_json_line(event)
        else:
            say(event_line(event, with_entity=task_id is None), at_once=True)
        last = event.type
    return exit_codes.DONE if last == "task.completed" else exit_codes.WORK_FAILED


GIST = ("agent_id", "reason", "error", "message", "progress", "kind", "retry_at", "title", "by")
"""The fields of an event that say most about it."""


def event_line(event: "EventView", *, with_entity: bool) -> str:
    """An event in one line that fits the terminal: when, what, and the gist of it."""
    data = msgspec.json.decode(event.data)
    gist = (
        f"{name} {str(data[name]).partition(chr(10))[0]}"
        for name in GIST
        if data.get(name) not in (None, "", event.entity_id)
    )
    entity = [event.entity_id] if with_entity else []
    line = clean("  ".join([f"{event.time.astimezone():%H:%M:%S}", event.type.ljust(18), *entity, ", ".join(gist)]))
    return cut(line, width() or GIST_CHARS_MAX).rstrip()


async def queue(hive: "Client", *, limit: Limit = 100, as_json: AsJson = False) -> None:
    """Show what waits, in the order in which it will be dispatched."""
    found = await hive.queue(limit)
    if as_json:
        print_json(found)
        return
    say(f"{found.ready} ready, {found.queued} waiting for something, {found.blocked} blocked")
    if found.items:
        say()
        print_tasks(found.items, "")


async def cancel(hive: "Client", task_id: TaskId, *, reason: Reason = "", as_json: AsJson = False) -> None:
    """End a task that has not ended."""
    _print_brief(await hive.cancel(task_id, reason), as_json=as_json)


async def retry(hive: "Client", task_id: TaskId, *, reason: Reason = "", as_json: AsJson = False) -> None:
    """Open a task that ended without success again."""
    _print_brief(await hive.retry(task_id, reason), as_json=as_json)


def _print_brief(brief: "TaskBrief", *, as_json: bool) -> None:
    if as_json:
        print_json(brief)
    else:
        say(f"{brief.task_id} is {brief.status}")


async def explain(
    hive: "Client",
    task_id: TaskId,
    *,
    attempt: Annotated[int | None, typer.Option(min=1, help="Which attempt. Else the last.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say why an attempt went to its agent."""
    found = await hive.explain(task_id, attempt)
    if as_json:
        print_json(found)
        return
    say(f"Attempt {found.attempt} went to {found.agent_id} {ago(found.decided_at)}: {found.reason}")
    factors = sorted({name for candidate in found.candidates for name in candidate.factors})
    columns = (
        Column("agent"),
        Column("score", right=True),
        *(Column(name, spare=9 - i, right=True) for i, name in enumerate(factors)),
        Column("stopped by"),
    )
    rows = (
        (
            candidate.agent_id,
            _number(candidate.score),
            *(_number(candidate.factors[name].value if name in candidate.factors else None) for name in factors),
            candidate.gate or "",
        )
        for candidate in found.candidates
    )
    say()
    print_table(columns, rows, "No candidates were recorded.")
    if found.gated:
        others = ", ".join(f"{count} by {gate}" for gate, count in sorted(found.gated.items()))
        say(f"\nStopped before scoring: {others}.")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


async def why(hive: "Client", task_id: TaskId, *, as_json: AsJson = False) -> None:
    """Say in one sentence why a task is where it is."""
    found = await hive.why(task_id)
    if as_json:
        print_json(found)
    else:
        say(found.sentence)


async def stats(hive: "Client", *, as_json: AsJson = False) -> None:
    """Count tasks by status, and agents by state."""
    found = await hive.stats()
    if as_json:
        print_json(found)
        return
    mean = found.completion_s_mean
    print_table((Column("tasks"), Column("count", right=True)), sorted(found.tasks.items()), "There are no tasks yet.")
    say()
    print_table(
        (Column("agents"), Column("count", right=True)), sorted(found.agents.items()), "There are no agents yet."
    )
    say(f"\nqueue depth {found.queue_depth}" + (f", completed in {duration(mean)} on average" if mean else ""))
