"""Tasks, their events and why they went where they did, for people."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from hivewire.cli.output import Column, ago, clean, cut, duration, print_facts, print_json, print_table, say, width

if TYPE_CHECKING:
    from hivewire.explanations import Explanation
    from hivewire.views import AttemptView, EventView, TaskBrief, TaskView

TASK_COLUMNS = (
    Column("TASK"),
    Column("STATUS"),
    Column("PRIO", spare=3, right=True),
    Column("AGENT", spare=1),
    Column("CREATED", spare=2),
    Column("TITLE", fill=True),
)


GIST = ("agent_id", "reason", "error", "progress", "message", "kind", "retry_at", "title", "by")
"""The fields of an event that say most about it."""
BARE = frozenset({"agent_id", "reason", "error", "message", "title"})
"""Those that need no name."""
GIST_CHARS_MAX = 400


def print_brief(brief: "TaskBrief", *, as_json: bool) -> None:
    """How a task stands after a command."""
    if as_json:
        print_json(brief)
    else:
        say(f"{brief.task_id} is {brief.status}")


def print_tasks(found: "list[TaskView]", empty: str) -> None:
    """A table of tasks."""
    rows = (
        (task.task_id, task.status, task.priority, task.agent_id, ago(task.created_at), task.title) for task in found
    )
    print_table(TASK_COLUMNS, rows, empty)


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
            ("feedback", task.feedback),
            ("needs", task.required_capabilities),
            ("priority", task.priority),
            ("depends on", task.depends_on),
            ("phase", task.phase_id),
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
        Column("ATTEMPT", right=True),
        Column("AGENT"),
        Column("STATUS"),
        Column("BEGAN"),
        Column("TOOK", right=True),
        Column("ERROR", fill=True),
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


def event_line(event: "EventView", *, with_entity: bool) -> str:
    """An event in one line that fits the terminal: when, what, and the gist of it."""
    data = msgspec.json.decode(event.data)
    known = ((name, data[name]) for name in GIST if data.get(name) not in (None, "", event.entity_id))
    gist = (str(value).partition("\n")[0] if name in BARE else f"{name} {value}" for name, value in known)
    entity = [event.entity_id] if with_entity else []
    line = clean("  ".join([f"{event.time.astimezone():%H:%M:%S}", event.type.ljust(18), *entity, ", ".join(gist)]))
    return cut(line, width() or GIST_CHARS_MAX).rstrip()


def print_candidates(explanation: "Explanation") -> None:
    """The scored agents side by side, the best first; where the terminal is narrow the worst are left out."""
    scored = [candidate for candidate in explanation.candidates if candidate.gate is None]
    weights = {name: factor.weight for candidate in scored for name, factor in candidate.factors.items()}
    rows = [("score", "", *(_number(candidate.score) for candidate in scored))]
    for name, weight in sorted(weights.items(), key=lambda item: (-item[1], item[0])):
        factors = (candidate.factors.get(name) for candidate in scored)
        rows.append((name, _number(weight), *(_number(factor.value if factor else None) for factor in factors)))
    columns = [Column("FACTOR"), Column("WEIGHT", right=True)]
    columns += [Column(candidate.agent_id, spare=place, right=True) for place, candidate in enumerate(scored)]
    if scored:
        say()
        print_table(columns, rows, "")
    stopped = [f"{candidate.agent_id} by {candidate.gate}" for candidate in explanation.candidates if candidate.gate]
    stopped += [f"{count} by {gate}" for gate, count in sorted(explanation.gated.items())]
    if stopped:
        say(f"\nstopped before scoring: {', '.join(stopped)}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
