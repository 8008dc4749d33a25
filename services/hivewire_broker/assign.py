"""Gives the ready tasks to agents: highest priority first, then the oldest, over all lines of the queue."""

import heapq
from datetime import datetime
from typing import Final

from hivewire.events.task import TaskAssigned, TaskUnmatched
from hivewire_broker.draft import Draft
from hivewire_broker.matching import Choice, Matcher
from hivewire_broker.queue import ReadyQueue
from hivewire_broker.state import State
from hivewire_broker.task import Requirements, Task

ASSIGNED_MAX: Final = 1_000
"""Assignments of one step; more would hold up what else waits to be decided."""
REPORTED_MAX: Final = 1_000
"""Tasks that one step reports as unmatched."""


class Assigner:
    """Brings lines and agents together, looking only at lines that grew or whose agents became free."""

    def __init__(self, state: State, matcher: Matcher) -> None:
        self._state = state
        self._queue: ReadyQueue = state.queue
        self._matcher = matcher
        self._composition = -1

    def pending(self) -> bool:
        """Whether anything happened since the last time that could lead to an assignment."""
        return bool(self._queue.grown or self._queue.newcomers) or self._state.slots_freed

    def assign(self, draft: Draft, composition: int, now: datetime) -> None:
        """Add the assignments that are possible now. The queue and the matcher already count them as made: the
        draft's events must follow, or the state be loaded anew."""
        freed = self._matcher.refresh()
        self._state.slots_freed = False
        lines = self._worth_looking(freed, composition)
        self._report_unmatched(draft)
        heads: list[tuple[int, Requirements]] = []
        for requirements in lines:
            head = self._ready_head(draft, requirements, now)
            if head is not None:
                heads.append((head.rank, requirements))
        heapq.heapify(heads)
        room = ASSIGNED_MAX
        while heads and room:
            requirements = heads[0][1]
            task = self._queue.head(requirements)
            assert task is not None
            choice = self._matcher.choose(task)
            if choice is None:
                heapq.heappop(heads)
                continue
            self._give(draft, task, choice, now)
            room -= 1
            head = self._ready_head(draft, requirements, now)
            if head is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (head.rank, requirements))
        self._queue.grown.update(requirements for _, requirements in heads)

    def _worth_looking(self, freed: list[int], composition: int) -> set[Requirements]:
        grown = set(self._queue.grown)
        self._queue.grown.clear()
        if composition != self._composition:
            self._composition = composition
            self._recheck_all()
            return set(self._queue.lines())
        if freed:
            grown.update(line for line in self._queue.lines() if self._matcher.can_any(line, freed))
        return grown

    def _recheck_all(self) -> None:
        """The fleet changed: tasks may now have nobody who could ever take them."""
        for requirements in self._queue.lines():
            if not self._matcher.has_candidates(requirements):
                self._queue.newcomers += self._queue.waiting(requirements)

    def _report_unmatched(self, draft: Draft) -> None:
        """Tell of tasks that are new in line and that no known agent could take."""
        told: set[str] = set()
        newcomers = self._queue.newcomers
        while newcomers and len(told) < REPORTED_MAX:
            task = newcomers.popleft()
            known = task.unmatched or task.task_id in told or task.task_id in draft.fates
            if task.in_line and task.dispatchable and not known and not self._matcher.has_candidates(task.requirements):
                told.add(task.task_id)
                draft.events.append(TaskUnmatched(task_id=task.task_id, reason=unmatched_reason(task.requirements)))

    def _ready_head(self, draft: Draft, requirements: Requirements, now: datetime) -> Task | None:
        """The first task of a line that is ready; those before it that are not leave the line."""
        while (task := self._queue.head(requirements)) is not None:
            wakes_at = task.wakes_at
            undecided = task.task_id not in draft.fates
            if undecided and task.dispatchable and (wakes_at is None or wakes_at <= now):
                return task
            self._queue.pop(requirements)
            if undecided:
                self._state.settle(task)
        return None

    def _give(self, draft: Draft, task: Task, choice: Choice, now: datetime) -> None:
        self._queue.pop(task.requirements)
        self._matcher.take(choice.agent_id, now)
        draft.events.append(
            TaskAssigned(
                task_id=task.task_id,
                attempt=len(task.attempts) + 1,
                agent_id=choice.agent_id,
                instance=choice.instance,
                assigned_at=now,
                score=choice.score,
                reason=choice.reason,
            )
        )
        draft.records.append(choice.decision)


def unmatched_reason(requirements: Requirements) -> str:
    """Why no agent will take a task, in one line."""
    capabilities = ", ".join(sorted(requirements.capabilities))
    if not capabilities:
        return f"no known agent works for owner {requirements.owner}"
    return f"no known agent that works for owner {requirements.owner} has all of: {capabilities}"
