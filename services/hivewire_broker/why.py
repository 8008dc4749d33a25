"""Why a task is where it is, in one sentence."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from hivewire.explanations import Why
from hivewire.views import TaskStatus
from hivewire_broker.fleet import AgentSeen

_SHOWN_MAX: Final = 200
"""Characters of a reason or error that are repeated in the sentence."""


class Waiting(msgspec.Struct, kw_only=True):
    """What the sentence needs to know of a task."""

    task_id: str
    status: TaskStatus
    owner: str
    required_capabilities: frozenset[str]
    by_name_only: bool
    attempt: int
    agent_id: str | None = None
    wakes_at: datetime | None = None
    phase: str | None = None
    """The phase that it is in, unless it is queued already, and how that stands."""
    phase_stands: str = ""
    key_full: str | None = None
    """The concurrency key of which as many tasks are with agents as may be."""
    waits_for: str | None = None
    waits_until: datetime | None = None
    retries: bool = False
    """Whether it waits for the time of its next attempt."""
    reason: str | None = None
    error: str | None = None


class UnmetDependency(msgspec.Struct):
    """The dependency that is the hardest to get, and how many there are."""

    task_id: str
    status: TaskStatus
    unmet: int


class Worker(msgspec.Struct):
    """An agent with the number of attempts it has."""

    agent: AgentSeen
    busy: int


def why(task: Waiting, dependency: UnmetDependency | None, workers: Sequence[Worker], now: datetime) -> Why:
    """The one thing that the task waits for."""
    if task.status == "pending":
        return _pending(task, dependency, workers, now)
    waits_for, sentence = _STANDING[task.status]
    detail = (task.error if task.status in {"failed", "dead_lettered"} else None) or task.reason or "no reason given"
    told = sentence.format(agent=task.agent_id, attempt=task.attempt, reason=task.reason, detail=_short(detail))
    return Why(task.task_id, task.status, told, waits_for.format(agent=task.agent_id))


_STANDING: Final[dict[TaskStatus, tuple[str, str]]] = {
    "assigned": ("agent {agent}", "attempt {attempt} was given to agent {agent}, which has not reported its start yet"),
    "running": ("agent {agent}", "agent {agent} works on attempt {attempt}"),
    "pending_approval": ("approval", "the work is done and waits for approval"),
    "blocked": ("unblocking", "it is blocked: {detail}"),
    "completed": ("nothing", "it is completed: agent {agent} did it in attempt {attempt}"),
    "failed": ("nothing", "it failed for good: {detail}"),
    "dead_lettered": ("nothing", "it is a dead letter, {reason}: {detail}"),
    "cancelled": ("nothing", "it was cancelled: {detail}"),
}


def _pending(task: Waiting, dependency: UnmetDependency | None, workers: Sequence[Worker], now: datetime) -> Why:
    held_back = next(_reasons(task, dependency, now), None)
    if held_back is None:
        return _agentless(task, workers)
    sentence, waits_for = held_back
    return Why(task.task_id, task.status, sentence, waits_for)


def _reasons(task: Waiting, dependency: UnmetDependency | None, now: datetime) -> Iterator[tuple[str, str]]:
    """What keeps the task back although agents may be free, the first to be overcome first; and what it waits for."""
    if task.phase is not None and not task.by_name_only:
        yield f"it waits for phase {task.phase} to start, which is {task.phase_stands}", f"phase {task.phase}"
    if dependency is not None:
        others = f", and for {dependency.unmet - 1} more" if dependency.unmet > 1 else ""
        told = f"it waits for task {dependency.task_id}, which is {dependency.status}{others}"
        yield told, f"task {dependency.task_id}"
    if task.wakes_at is not None and task.wakes_at > now:
        moment = task.wakes_at.isoformat(timespec="seconds")
        if task.retries:
            failed = f"after attempt {task.attempt} failed: {_short(task.error or 'no error given')}"
            yield f"it is tried again at {moment} {failed}", f"time {moment}"
        yield f"it is not due before {moment}", f"time {moment}"
    if task.waits_until is not None:
        until = f"until {task.waits_until.isoformat(timespec='seconds')} at the latest"
        told = f"it waits for agent {task.waits_for}, which was away and is woken for it, {until}"
        yield told, f"agent {task.waits_for}"
    if task.by_name_only:
        yield "tasks of its type are given out only by name", "dispatch by name"
    if task.key_full is not None:
        told = f"as many tasks of concurrency key {task.key_full} as may be are with agents"
        yield told, f"concurrency key {task.key_full}"


def _agentless(task: Waiting, workers: Sequence[Worker]) -> Why:
    misses = sorted((_miss(task, worker) for worker in workers), key=lambda miss: miss.order)
    capable = [miss for miss in misses if not miss.never]
    nearest = f"{misses[0].agent_id}: {misses[0].text}" if misses and misses[0].text else None
    if not workers:
        sentence = "no agent is registered"
    elif not capable:
        needs = ", ".join(sorted(task.required_capabilities)) or "nothing special"
        sentence = f"no known agent can do it (needs {needs}, owner {task.owner}); the nearest is {nearest}"
    elif capable[0].text:
        counts = Counter(miss.text for miss in capable)
        states = ", ".join(f"{count} {text}" for text, count in counts.items())
        sentence = f"of the agents that can do it none is free: {states}"
    else:
        sentence = f"it is ready, and agent {capable[0].agent_id} is free: it is given out at any moment"
    return Why(task.task_id, task.status, sentence, "an agent", nearest)


class _Miss(msgspec.Struct):
    """What an agent lacks for a task. `never`: it could not do it even if it were free."""

    agent_id: str
    order: tuple[int, int, int, str]
    text: str
    never: bool


def _miss(task: Waiting, worker: Worker) -> _Miss:
    agent = worker.agent
    lacking = sorted(task.required_capabilities - agent.capabilities)
    foreign = agent.owner is not None and agent.owner != task.owner
    if lacking:
        text = f"lacks {', '.join(lacking)}"
    elif foreign:
        text = f"works only for owner {agent.owner}"
    elif agent.presence != "present" and not agent.asleep:
        text = agent.presence
    elif agent.drained:
        text = "drained"
    elif agent.asleep:
        text = "asleep"
    else:
        text = "busy" if worker.busy >= agent.slots else ""
    order = (len(lacking), int(foreign), _DISTANCE.get(text, 0), agent.agent_id)
    return _Miss(agent.agent_id, order, text, never=bool(lacking) or foreign)


_DISTANCE: Final = {"asleep": 1, "busy": 2, "drained": 3, "away": 4, "lost": 5}


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_MAX else line[: _SHOWN_MAX - 3] + "..."
