"""The broker's own metrics. No label holds an id."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
from prometheus_client import Counter, Gauge, Histogram

from hivewire.events import Event
from hivewire.events import task as events
from hivewire_broker.core import Broker
from hivewire_broker.evolve import PLANNING
from hivewire_broker.moments import microseconds, span_us
from hivewire_broker.rows import SQL
from hivewire_service.metrics import series
from hivewire_service.stock import Meter

QUEUE_TASKS = Gauge(
    "hivewire_queue_tasks",
    "Tasks that have not ended. Of the pending ones `ready` lack nothing but an agent, `waiting` wait for a phase, a "
    "dependency or a time.",
    ["priority", "state"],
)
QUEUE_AGE = Gauge(
    "hivewire_queue_oldest_age_seconds",
    "How long the longest has been in its state, of the tasks counted in hivewire_queue_tasks.",
    ["priority", "state"],
)
DEAD_LETTERS = Gauge("hivewire_dead_letters", "Tasks that ended without success and were not replayed.", ["status"])
ASSIGN_SECONDS = Histogram(
    "hivewire_task_assign_seconds",
    "From a task's acceptance, or the moment it was not to begin before, to its first assignment. Tasks of phases and "
    "with dependencies are left out.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30, 120, 600, 3600),
)
ATTEMPT_SECONDS = Histogram(
    "hivewire_attempt_seconds",
    "From an attempt's start, or from its assignment if it was not started, to its end.",
    ["outcome"],
    buckets=(0.005, 0.02, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400),
)
RETRIES = Counter(
    "hivewire_task_retries_total", "Attempts that were followed by another, by how they ended.", ["ended"]
)
TASK_ENDS = Counter("hivewire_task_ends_total", "Tasks that ended.", ["status"])

_ENDS: Final[Mapping[type[Event], str]] = {
    events.TaskCompleted: "completed",
    events.TaskFailed: "failed",
    events.TaskDeadLettered: "dead_lettered",
    events.TaskCancelled: "cancelled",
}
_ENDS_ATTEMPT: Final[Mapping[type[Event], str]] = {
    events.TaskCompleted: "completed_at",
    events.TaskPendingApproval: "finished_at",
    events.TaskFailed: "failed_at",
    events.TaskTimeout: "ended_at",
    events.TaskReassigned: "ended_at",
    events.TaskRetry: "ended_at",
    events.TaskDeadLettered: "dead_lettered_at",
    events.TaskCancelled: "cancelled_at",
}
"""Events with which an attempt may have ended, and the field that says when."""
# A rate is seen from the first one on only if the series was there before.
for _status in _ENDS.values():
    TASK_ENDS.labels(_status)
for _ended in ("failed", "timed_out", "lost"):
    RETRIES.labels(_ended)


class BrokerMeter(Meter):
    """Tasks, and the attempts at them."""

    gauges = (QUEUE_TASKS, QUEUE_AGE, DEAD_LETTERS)

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def count(self, committed: Sequence[Event]) -> None:
        """Count assignments, retries and ends, with the times that they took."""
        ended: set[tuple[str, int]] = set()
        for event in committed:
            kind = type(event)
            if isinstance(event, events.TaskAssigned):
                self._assigned(event)
            elif kind in _ENDS_ATTEMPT:
                self._attempt_ended(event, getattr(event, _ENDS_ATTEMPT[kind]), ended)
                if isinstance(event, events.TaskRetry):
                    series(RETRIES, event.ended).inc()
                elif kind in _ENDS:
                    series(TASK_ENDS, _ENDS[kind]).inc()

    def _assigned(self, event: events.TaskAssigned) -> None:
        task = self._broker.state.tasks.get(event.task_id)
        if task is None or event.attempt != 1 or task.depends_on or task.phase_id:
            return
        since_us = max(task.created_us, microseconds(task.not_before) if task.not_before else 0)
        ASSIGN_SECONDS.observe(max(0, microseconds(event.assigned_at) - since_us) / 1e6)

    def _attempt_ended(self, event: Any, at: datetime, ended: set[tuple[str, int]]) -> None:
        """An attempt that is retried may end with two events of one moment; approved work ended before."""
        task = self._broker.state.tasks.get(event.task_id)
        if task is None or not 0 < event.attempt <= len(task.attempts) or (event.task_id, event.attempt) in ended:
            return
        attempt = task.attempts[event.attempt - 1]
        if attempt.ended_at == at:
            ended.add((event.task_id, event.attempt))
            took_us = span_us(attempt.started_at or attempt.assigned_at, at)
            series(ATTEMPT_SECONDS, attempt.status).observe(took_us / 1e6)

    async def take_stock(self, pool: asyncpg.Pool) -> None:
        """Count what has not ended, and the dead letters, in Postgres: memory has no index for it, and a scan there
        would hold up the loop."""
        for gauge in (QUEUE_TASKS, QUEUE_AGE):
            gauge.clear()
        for priority, state, tasks, age_s in await pool.fetch(SQL.stock, sorted(PLANNING)):
            QUEUE_TASKS.labels(priority, state).set(tasks)
            QUEUE_AGE.labels(priority, state).set(age_s)
        dead = {row["status"]: row["tasks"] for row in await pool.fetch(SQL.dead_counts)}
        for status in ("failed", "dead_lettered"):
            DEAD_LETTERS.labels(status).set(dead.get(status, 0))
