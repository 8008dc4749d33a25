"""Gives the ready tasks to agents: highest priority first, then the oldest, over all lines of the queue."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Final

from hivewire.events.task import TaskAssigned, TaskUnmatched
from hivewire_broker import waking
from hivewire_broker.draft import Draft
from hivewire_broker.matching import Choice, Matcher
from hivewire_broker.oversight import level
from hivewire_broker.queue import ReadyQueue
from hivewire_broker.state import State
from hivewire_broker.task import Requirements, Task
from hivewire_broker.turns import Heads, OwnerRates, Turns

ASSIGNED_MAX: Final = 1_000
"""Assignments of one step; more would hold up what else waits to be decided."""
REPORTED_MAX: Final = 1_000
"""Tasks that one step reports as unmatched."""


class Assigner:
    """Brings lines and agents together, looking only at lines that grew or whose agents became free."""

    def __init__(
        self,
        state: State,
        matcher: Matcher,
        owner_rate: float | None = None,
        wake_timeout_s: float = waking.WAKE_TIMEOUT_S,
    ) -> None:
        self._state = state
        self._wake_timeout = timedelta(seconds=wake_timeout_s)
        self._queue: ReadyQueue = state.queue
        self._matcher = matcher
        self._composition = -1
        self._freed: list[int] = []
        self._turns = Turns()
        self._rates = OwnerRates(owner_rate)
        self._held_back: dict[Requirements, datetime] = {}
        """Lines of owners that have reached their rate, and when they may go on."""
        self._given: Counter[str] = Counter()
        """By concurrency key: what the draft in the making gives out."""
        self._woken: set[str] = set()
        """Agents that the draft in the making wakes."""

    def pending(self) -> bool:
        """Whether anything happened since the last time that could lead to an assignment."""
        return bool(self._queue.grown or self._queue.newcomers) or self._state.slots_freed

    def next_due(self) -> datetime | None:
        """When an owner that has reached its rate may go on."""
        return min(self._held_back.values(), default=None)

    def assign(self, draft: Draft, composition: int, now: datetime) -> None:
        """Add the assignments that are possible now. The queue and the matcher already count them as made: the
        draft's events must follow, or the state be loaded anew."""
        self._refresh(now)
        freed, self._freed = self._freed, []
        self._state.slots_freed = False
        lines = self._worth_looking(freed, composition) | self._let_go_on(now)
        self._report_unmatched(draft)
        self._given.clear()
        self._woken.clear()
        heads = Heads(self._turns, self._heads(draft, lines, now))
        room = ASSIGNED_MAX
        while heads and room:
            requirements = heads.first()
            task = self._queue.head(requirements)
            assert task is not None
            allowed_at = self._rates.allowed_at(requirements.owner, now)
            if allowed_at > now:
                self._held_back.update(dict.fromkeys(heads.drop_owner(), allowed_at))
                continue
            if not self._has_room(task):  # it had, before another line's task of the same key was given out
                heads.replace(self._ready_head(draft, requirements, now))
                continue
            choice = self._matcher.choose(task)
            if choice is None:
                heads.replace(None)
                continue
            self._queue.pop(requirements)
            if choice.asleep:
                self._wake(draft, task, choice, now)
            else:
                self._give(draft, task, choice, now)
            room -= 1
            heads.replace(self._ready_head(draft, requirements, now))
        self._queue.grown.update(heads.lines())

    def first(self, agent_id: str | None, now: datetime) -> tuple[Task, Choice] | None:
        """The first ready task that an agent, or the one named, could take, with the choice."""
        self._refresh(now)
        self._given.clear()
        draft = Draft()
        heads = Heads(self._turns, self._heads(draft, set(self._queue.lines()), now))
        while heads:
            task = self._queue.head(heads.first())
            assert task is not None
            choice = self.choose(task, agent_id, now)
            if isinstance(choice, Choice):
                return task, choice
            heads.replace(None)
        return None

    def choose(self, task: Task, agent_id: str | None, now: datetime) -> Choice | str:
        """The best agent for a task, or the one named, without looking at any line; else why there is none."""
        self._refresh(now)
        if agent_id is not None:
            return self._matcher.name(task, agent_id)
        return self._matcher.choose(task, awake=True) or "no agent that can do it is free"

    def give(self, draft: Draft, task: Task, choice: Choice, now: datetime) -> None:
        """Give a task out of turn. The draft's events must follow, or the state be loaded anew."""
        self._give(draft, task, choice, now)
        draft.fates[task.task_id] = "assigned"

    def _refresh(self, now: datetime) -> None:
        self._freed += self._matcher.refresh(now)

    def _heads(self, draft: Draft, lines: set[Requirements], now: datetime) -> list[Task]:
        heads = (self._ready_head(draft, requirements, now) for requirements in lines)
        return [head for head in heads if head is not None]

    def _let_go_on(self, now: datetime) -> set[Requirements]:
        """The lines whose owners may be given tasks again."""
        lines = {requirements for requirements, due in self._held_back.items() if due <= now}
        for requirements in lines:
            del self._held_back[requirements]
        return lines

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
                if self._has_room(task):
                    return task
                self._queue.pop(requirements)
                self._state.keys.set_aside(task)
                continue
            self._queue.pop(requirements)
            if undecided:
                self._state.settle(task)
        return None

    def _has_room(self, task: Task) -> bool:
        return self._state.keys.has_room(task, self._given[task.concurrency_key or ""])

    def _wake(self, draft: Draft, task: Task, choice: Choice, now: datetime) -> None:
        """Let the task wait for an agent that is asleep. A slot of it is taken from now on."""
        self._matcher.take(choice.agent_id, now)
        told = choice.agent_id in self._state.awaited or choice.agent_id in self._woken
        self._woken.add(choice.agent_id)
        waking.wait_for(draft, task, choice, now + self._wake_timeout, told=told)

    def _give(self, draft: Draft, task: Task, choice: Choice, now: datetime) -> None:
        self._matcher.take(choice.agent_id, now)
        self._turns.take(task.requirements.owner)
        self._rates.take(task.requirements.owner, now)
        if task.concurrency_key is not None:
            self._given[task.concurrency_key] += 1
        draft.events.append(
            TaskAssigned(
                task_id=task.task_id,
                attempt=len(task.attempts) + 1,
                agent_id=choice.agent_id,
                instance=choice.instance,
                assigned_at=now,
                score=choice.score,
                reason=choice.reason,
                oversight=level(task, choice.trust),
            )
        )
        if choice.decision is not None:
            draft.records.append(choice.decision)


def unmatched_reason(requirements: Requirements) -> str:
    """Why no agent will take a task, in one line."""
    capabilities = ", ".join(sorted(requirements.capabilities))
    if not capabilities:
        return f"no known agent works for owner {requirements.owner}"
    return f"no known agent that works for owner {requirements.owner} has all of: {capabilities}"
