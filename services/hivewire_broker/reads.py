"""Reads about tasks, answered from Postgres by any instance of the service."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import asyncpg
import msgspec

from hivewire import codec, limits
from hivewire.commands.broker import Backoff
from hivewire.errors import BadUsage
from hivewire.explanations import Candidate, Explanation, Factor, WeightShift, WhatIf, Why
from hivewire.reads import AskWhatIf, Explain, Listing, ListTasks, Nothing, OneTask, QueueAsOf, TaskAsOf
from hivewire.views import (
    TERMINAL,
    AttemptView,
    Page,
    QueueView,
    Stats,
    TaskView,
)
from hivewire_broker import phase_reads, replay_rows
from hivewire_broker.as_of import queue_as_of, task_as_of
from hivewire_broker.cursors import number
from hivewire_broker.decision import Decision
from hivewire_broker.evolve import PLANNING, is_by_name_only
from hivewire_broker.rows import SQL, agent_seen
from hivewire_broker.scoring import FACTORS, weights_in_order
from hivewire_broker.whatif import Decided, compare, winner
from hivewire_broker.why import UnmetDependency, Waiting, Worker, why
from hivewire_service.answer import Query
from hivewire_service.core import Refusal

_backoffs = msgspec.json.Decoder(Backoff)
_labels = msgspec.json.Decoder(dict[str, str])
_decisions = msgspec.json.Decoder(Decision)

_AGEING_US: Final = int(limits.PRIORITY_AGEING_S * 1e6)
DECISIONS_MAX: Final = 200_000
"""Decisions that one read looks at."""
_CHUNK: Final = 5_000

_LIVE: Final = frozenset({"pending", "assigned", "running", "pending_approval", "blocked"})


async def task(connection: asyncpg.Connection, query: TaskAsOf, _sender: str) -> TaskView | Refusal:
    """One task with its attempts, as it is or as it was."""
    if query.as_of is not None:
        return await task_as_of(connection, query.task_id, query.as_of)
    row = await connection.fetchrow(SQL.task, query.task_id)
    if row is None:
        return _unknown(query.task_id)
    view = _view(row)
    view.attempts = [_attempt(found) for found in await connection.fetch(SQL.attempts, query.task_id)]
    return view


async def tasks(connection: asyncpg.Connection, query: ListTasks, _sender: str) -> Page | Refusal:
    """A page of tasks, newest first."""
    before = number(query.cursor)
    if isinstance(before, Refusal):
        return before
    name, found, value = (query.label or "").partition("=")
    if query.label and not found:
        return Refusal(f"label {query.label!r} is not of the form name=value", 400)
    unknown = set(query.status) - _LIVE - TERMINAL
    if unknown:
        return Refusal(f"status {min(unknown)!r} is unknown: take one of {', '.join(sorted(_LIVE | TERMINAL))}", 400)
    rows = await connection.fetch(
        SQL.tasks,
        before,
        query.status or None,
        query.owner,
        query.source,
        query.agent,
        query.phase,
        codec.encode({name: value}).decode() if query.label else None,
        query.ids or None,
        bool(query.status) and _LIVE.issuperset(query.status),
        query.limit + 1,
    )
    return _page(rows, query.limit)


async def dead(connection: asyncpg.Connection, query: Listing, _sender: str) -> Page | Refusal:
    """A page of the dead letters, newest first."""
    before = number(query.cursor)
    if isinstance(before, Refusal):
        return before
    return _page(await connection.fetch(SQL.dead_tasks, before, query.limit + 1), query.limit)


async def queue(connection: asyncpg.Connection, query: QueueAsOf, _sender: str) -> QueueView | Refusal:
    """What waits or waited, counted, and a page of it in the order in which it is given out."""
    if query.as_of is not None:
        return await queue_as_of(connection, query.as_of, query.limit)
    place, _, ordinal = (query.cursor or "").partition(".")
    after = [number(part or None) for part in (place, ordinal)]
    refusal = next((part for part in after if isinstance(part, Refusal)), None)
    if refusal is not None:
        return refusal
    counts = await connection.fetchrow(SQL.queue_counts, sorted(PLANNING))
    rows = await connection.fetch(SQL.queue_head, *after, query.limit + 1, _AGEING_US)
    assert counts is not None
    last = rows[query.limit - 1] if len(rows) > query.limit else None
    cursor = f"{last['place']}.{last['ordinal']}" if last else None
    items = [_view(row) for row in rows[: query.limit]]
    return QueueView(counts["queued"], counts["ready"], counts["blocked"], items, cursor)


async def next_task(connection: asyncpg.Connection, _query: Nothing, _sender: str) -> TaskView | Refusal:
    """The task that would be dispatched first."""
    row = await connection.fetchrow(SQL.next, sorted(PLANNING), _AGEING_US)
    return _view(row) if row else Refusal("no task is ready", 404)


async def explain(connection: asyncpg.Connection, query: Explain, _sender: str) -> Explanation | Refusal:
    """Why an attempt went to its agent, or where it would have gone with other weights."""
    weights = _weights(query.weights)
    if isinstance(weights, Refusal):
        return weights
    row = await connection.fetchrow(SQL.decision, query.task_id, query.attempt)
    if row is None:
        known = await connection.fetchrow(SQL.task, query.task_id)
        if known is None:
            return _unknown(query.task_id)
        which = f"attempt {query.attempt}" if query.attempt else "attempt"
        return Refusal(f"task {query.task_id} has no {which} yet: `hivewire why` tells what it waits for", 404)
    decision = _decisions.decode(row["decision"]) if row["decision"] else None
    if decision is None and weights is not None:
        return Refusal(f"attempt {row['attempt']} went to {row['agent_id']} by name: nothing was weighed", 422)
    return Explanation(
        task_id=row["task_id"],
        attempt=row["attempt"],
        agent_id=row["agent_id"],
        reason=row["reason"],
        candidates=_candidates(decision, weights or decision.weights) if decision else [],
        gated=decision.gated if decision else {},
        decided_at=row["assigned_at"],
        oversight=row["oversight"],
        shifts=_shifts(decision) if decision else {},
        if_idle=decision.if_idle if decision else None,
        reweighted=weights is not None,
        woken=decision is not None and decision.woken,
        winner=winner(decision, weights) if decision and weights else None,
    )


async def whatif(connection: asyncpg.Connection, query: AskWhatIf, _sender: str) -> WhatIf | Refusal:
    """The decisions since a moment, taken again with other weights."""
    weights = _weights(query.weights)
    if isinstance(weights, Refusal):
        return weights
    assert weights is not None
    found: list[Decided] = []
    place: tuple[datetime, str, int] = (query.since, "", 0)
    while rows := await connection.fetch(SQL.decisions, *place, _CHUNK):
        found += [
            Decided(_decisions.decode(row["decision"]), row["agent_id"], row["assigned_at"], row["run_s"])
            for row in rows
        ]
        if len(found) > DECISIONS_MAX:
            return Refusal(f"more than {DECISIONS_MAX} decisions: ask for a shorter time", 413)
        last = rows[-1]
        place = (last["assigned_at"], last["task_id"], last["attempt"])
        await asyncio.sleep(0)
    slots = {row["agent_id"]: row["slots"] for row in await connection.fetch(SQL.slots)}
    # In a thread: it may take a second, in which the owner's loop must go on.
    return await asyncio.to_thread(compare, found, weights, slots)


async def why_pending(connection: asyncpg.Connection, query: OneTask, _sender: str) -> Why | Refusal:
    """The one thing that a task waits for."""
    row = await connection.fetchrow(SQL.task, query.task_id)
    if row is None:
        return _unknown(query.task_id)
    waiting = Waiting(
        task_id=row["task_id"],
        status=row["status"],
        owner=row["owner"],
        required_capabilities=frozenset(row["required_capabilities"]),
        by_name_only=is_by_name_only(row["type"], row["category"]),
        attempt=row["attempt"],
        agent_id=row["agent_id"],
        wakes_at=max((at for at in (row["not_before"], row["retry_at"]) if at is not None), default=None),
        waits_for=row["waits_for"],
        waits_until=row["waits_until"],
        retries=row["retry_at"] is not None,
        reason=row["reason"],
        error=row["error"],
    )
    if waiting.status == "pending":
        await _add_plan(connection, row, waiting)
    unmet: UnmetDependency | None = None
    workers: list[Worker] = []
    if waiting.status == "pending":
        found = await connection.fetchrow(SQL.first_unmet_dependency, query.task_id)
        if found is not None:
            unmet = UnmetDependency(found["task_id"], found["status"], found["unmet"])
        workers = [Worker(agent_seen(agent), agent["busy"]) for agent in await connection.fetch(SQL.agents_with_load)]
    return why(waiting, unmet, workers, await connection.fetchval("SELECT now()"))


async def _add_plan(connection: asyncpg.Connection, row: asyncpg.Record, waiting: Waiting) -> None:
    """What keeps a pending task back beside other tasks and agents: its phase, or its concurrency key."""
    phase = await connection.fetchrow(SQL.phase, row["phase_id"]) if row["phase_id"] and not row["queued"] else None
    if phase is not None:
        stands = {(False, False): "not approved", (True, False): "not queued"}
        standing = stands.get((phase["approved"], phase["queued"]), "queued behind other phases")
        waiting.phase = phase["phase_id"]
        waiting.phase_stands = standing if phase["status"] == "pending" else phase["status"]
    if row["concurrency_key"] is not None:
        held = await connection.fetchval(SQL.held_of_key, row["concurrency_key"])
        waiting.key_full = row["concurrency_key"] if held >= (row["max_concurrent"] or 1) else None


async def stats(connection: asyncpg.Connection, _query: Nothing, _sender: str) -> Stats:
    """Counts over everything that is kept."""
    rows = await connection.fetch(SQL.counts)
    counts = {row["status"]: row["tasks"] for row in rows}
    agents = {row["state"]: row["agents"] for row in await connection.fetch(SQL.agent_counts)}
    mean_s = next((row["completion_s"] for row in rows if row["status"] == "completed"), None)
    return Stats(counts, counts.get("pending", 0), agents, mean_s)


READS: Mapping[str, Query] = {
    "task": Query(TaskAsOf, task),
    "tasks": Query(ListTasks, tasks),
    "queue": Query(QueueAsOf, queue),
    "explain": Query(Explain, explain),
    "why": Query(OneTask, why_pending),
    "dead": Query(Listing, dead),
    "stats": Query(Nothing, stats),
    "next": Query(Nothing, next_task),
    "whatif": Query(AskWhatIf, whatif),
    **phase_reads.READS,
    **replay_rows.READS,
}


def _unknown(task_id: str) -> Refusal:
    return Refusal(f"there is no task {task_id!r}", 404)


def _page(rows: list[asyncpg.Record], limit: int) -> Page:
    cursor = str(rows[limit - 1]["ordinal"]) if len(rows) > limit else None
    return Page([_view(row) for row in rows[:limit]], cursor)


def _weights(given: Mapping[str, float] | None) -> tuple[float, ...] | Refusal | None:
    if given is None:
        return None
    try:
        return weights_in_order(given)
    except BadUsage as error:
        return Refusal(str(error), 400)


def _candidates(decision: Decision, weights: Sequence[float]) -> list[Candidate]:
    """The recorded candidates, the best by these weights first."""
    candidates = []
    for agent_id, values in zip(decision.candidates, decision.factors, strict=True):
        factors = {
            name: Factor(value, weight, round(value * weight, 4))
            for name, value, weight in zip(FACTORS, values, weights, strict=True)
        }
        score = round(sum(factor.value * factor.weight for factor in factors.values()), 4)
        candidates.append(Candidate(agent_id=agent_id, score=score, factors=factors))
    if weights != decision.weights:
        candidates.sort(key=lambda candidate: -(candidate.score or 0.0))
    return candidates


def _shifts(decision: Decision) -> dict[str, WeightShift | None]:
    return {
        name: WeightShift(shift.change, shift.agent_id) if shift else None
        for name, shift in zip(FACTORS, decision.shifts, strict=False)
    }


def _attempt(row: asyncpg.Record) -> AttemptView:
    return AttemptView(**dict(row))


def _view(row: asyncpg.Record) -> TaskView:
    plain = {name: row[name] for name in TaskView.__struct_fields__ if name not in _CONVERTED}
    return TaskView(
        **plain,
        backoff=_backoffs.decode(row["backoff"]),
        labels=_labels.decode(row["labels"]),
        metadata=msgspec.Raw(row["metadata"].encode()),
        payload=msgspec.Raw(row["payload"].encode()),
        result=msgspec.Raw((row["result"] or "null").encode()),
    )


_CONVERTED: Final = frozenset({"backoff", "labels", "metadata", "payload", "result", "attempts"})
