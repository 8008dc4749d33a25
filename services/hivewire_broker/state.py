"""The broker's state: its live tasks, its phases and initiatives, with the indexes that keep every step's cost flat.

`evolve` alone changes what is stored; the indexes follow from it.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from hivewire.commands.broker import Backoff
from hivewire_broker.concurrency import KeyLimits
from hivewire_broker.phase import Initiative, Phase
from hivewire_broker.queue import ReadyQueue
from hivewire_broker.replays import Replays
from hivewire_broker.task import Requirements, Task
from hivewire_broker.timeouts import due_at
from hivewire_broker.timers import Timers

T = TypeVar("T")

ENDED_REMEMBERED_MAX: Final = 20_000
"""Ended tasks kept in memory; older ones are read again when a command names them."""
RELEASED_MAX: Final = 1_000
"""Dependents that are told at once that what they waited for is completed; the others follow step by step."""
KIN_REMEMBERED_MAX: Final = 20_000
"""Parents and labels of which the last agent is remembered."""
INTERNED_MAX: Final = 20_000
"""Requirements and backoffs that are shared; beyond it they are forgotten, unless something is in line for them."""


class History(msgspec.Struct):
    """What the broker has seen of an agent. `run_us`: microseconds that its completed attempts took."""

    completed: int = 0
    ended: int = 0
    """Attempts that say something of the agent: completed, failed, timed out or lost."""
    run_us: int = 0
    cost: float = 0.0
    """What its completed attempts cost, of those that said so."""
    costed: int = 0
    """How many said so."""
    last_assigned_us: int = 0
    """When it last got an attempt, in microseconds since 1970; 0: never."""


class State:
    """Live tasks, and the ended ones that are remembered.

    A dependency of a live task that is not in `tasks` is completed: whatever ended otherwise stays as long as a live
    task depends on it.
    """

    def __init__(self, ended_max: int = ENDED_REMEMBERED_MAX) -> None:
        self.tasks: dict[str, Task] = {}
        self.dependents: dict[str, dict[str, None]] = {}
        """By task that is not completed: the live tasks that depend on it."""
        self.released: dict[str, dict[str, None]] = {}
        """By task that is completed and had very many dependents: those that were not told yet."""
        self.to_review: deque[str] = deque()
        """Dependents of tasks that ended without success or are open again, which were not looked at yet."""
        self.held: dict[str, dict[str, Task]] = {}
        """By agent: the tasks of which it has the open attempt."""
        self.awaited: dict[str, dict[str, None]] = {}
        """By agent that is being woken: the tasks that wait for it."""
        self.history: dict[str, History] = {}
        self.kin: dict[str, str] = {}
        """By parent or label: the agent that last completed such a task. Not stored: it only sways choices."""
        self.last_ordinal = 0
        self.phases: dict[str, Phase] = {}
        self.initiatives: dict[str, Initiative] = {}
        self.replays: Replays = {}
        self.phase_dependents: dict[str, dict[str, None]] = {}
        """By phase: the phases that depend on it."""
        self.phases_to_look_at: dict[str, None] = {}
        """Phases of which something changed that may start, complete or block them."""
        self.to_queue: deque[Task] = deque()
        """Tasks of phases that have started, which are not queued yet."""
        self.demand: dict[str, int] = {}
        """By capability: how many pending tasks ask for it."""
        self.results: dict[str, msgspec.Raw] = {}
        """Results that wait for approval, while they are at hand. The rows keep them all."""
        self.queue = ReadyQueue()
        self.keys = KeyLimits()
        self.timers = Timers(self.tasks)
        self.changed_agents: set[str] = set()
        """Agents whose load or history changed since the matcher last looked."""
        self.slots_freed = False
        """Whether an attempt ended since the matcher last looked."""
        self._ended: dict[str, int] = {}
        self._turn = 0
        self._ended_max = ended_max
        self._interned: dict[tuple[str, frozenset[str]], Requirements] = {}
        self._backoffs: dict[tuple[float, ...], Backoff] = {}

    def requirements(self, owner: str, capabilities: Iterable[str]) -> Requirements:
        """The one object for these requirements."""
        key = (owner, frozenset(capabilities))
        known = self._interned.get(key)
        if known is None:
            if len(self._interned) >= INTERNED_MAX:
                in_line = set(self.queue.lines())
                self._interned = {kept: value for kept, value in self._interned.items() if value in in_line}
            known = self._interned[key] = Requirements(*key)
        return known

    def backoff(self, backoff: Backoff) -> Backoff:
        """The one object for this backoff."""
        if len(self._backoffs) >= INTERNED_MAX:
            self._backoffs.clear()
        return self._backoffs.setdefault(msgspec.structs.astuple(backoff), backoff)

    def add(self, task: Task) -> None:
        """Know a live task. What it depends on is known before, or completed."""
        self.tasks[task.task_id] = task
        self.last_ordinal = max(self.last_ordinal, task.ordinal)
        if task.status == "pending":
            self.count_demand(task, 1)
        self.watch_dependencies(task)
        if task.phase_id is not None:
            self.phases[task.phase_id].open[task.task_id] = None

    def add_all(self, tasks: Sequence[Task]) -> None:
        """Know many tasks, which may depend on one another in any order."""
        for task in tasks:
            self.add(task)
        for task in tasks:
            self.watch_dependencies(task)

    def watch_dependencies(self, task: Task) -> None:
        """Count what the task still waits for, and be told when that ends."""
        task.unmet = 0
        for dependency_id in task.depends_on:
            dependency = self.tasks.get(dependency_id)
            if dependency is not None and dependency.status != "completed":
                task.unmet += 1
                self.dependents.setdefault(dependency_id, {})[task.task_id] = None

    def forget_dependencies(self, task: Task) -> None:
        """The task waits for no other any more."""
        for dependency_id in task.depends_on:
            waiting = self.dependents.get(dependency_id)
            if waiting is not None:
                waiting.pop(task.task_id, None)
                if not waiting:
                    del self.dependents[dependency_id]
            self.released.get(dependency_id, {}).pop(task.task_id, None)

    def settle(self, task: Task) -> None:
        """Put a live task where its status wants it: in line, among the timers, with its agent."""
        if task.dispatchable and task.wakes_at is None:
            self.queue.push(task)
        due = due_at(task)
        if due is not None:
            self.timers.arm(task, due)

    def count_demand(self, task: Task, change: int) -> None:
        """The task became pending, or is so no longer."""
        demand = self.demand
        for capability in task.requirements.capabilities:
            count = demand.get(capability, 0) + change
            if count:
                demand[capability] = count
            else:
                del demand[capability]

    def hold(self, task: Task) -> None:
        """The task's last attempt is with its agent."""
        agent_id = task.attempts[-1].agent_id
        self.held.setdefault(agent_id, {})[task.task_id] = task
        self.keys.take(task)
        self.changed_agents.add(agent_id)

    def let_go(self, task: Task) -> None:
        """The task's last attempt is over."""
        agent_id = task.attempts[-1].agent_id
        held = self.held[agent_id]
        del held[task.task_id]
        if not held:
            del self.held[agent_id]
        self.keys.give_back(task)
        self.bring_back(task)
        self.changed_agents.add(agent_id)
        self.slots_freed = True

    def wait_for(self, task: Task, agent_id: str) -> None:
        """The task waits for an agent that is being woken."""
        self.awaited.setdefault(agent_id, {})[task.task_id] = None
        self.changed_agents.add(agent_id)

    def stop_waiting(self, task: Task) -> None:
        """The task waits for no agent that is being woken."""
        agent_id = task.waits_for
        if agent_id is None or task.waits_until is None:
            return
        task.waits_until = None
        del self.awaited[agent_id][task.task_id]
        if not self.awaited[agent_id]:
            del self.awaited[agent_id]
        self.changed_agents.add(agent_id)
        self.slots_freed = True

    def take_up(self, task: Task) -> None:
        """A live task was added as it stood: its agent, or the one that it waits for, and its place in line follow."""
        if task.open_attempt is not None:
            self.hold(task)
        if task.waits_for is not None and task.waits_until is not None:
            self.wait_for(task, task.waits_for)
        self.settle(task)

    def bring_back(self, task: Task) -> None:
        """Others of the task's key may have room now."""
        if task.concurrency_key is not None:
            for other in self.keys.returning(task.concurrency_key):
                self.queue.push(other)

    def end(self, task: Task) -> None:
        """The task has ended: whoever waits for it learns of it, and it is remembered for a while."""
        self.forget_dependencies(task)
        if task.status == "completed":
            self._release(task.task_id, self.dependents.pop(task.task_id, {}))
        else:
            self.to_review.extend(self.dependents.get(task.task_id, ()))
        self.bring_back(task)
        if task.phase_id is not None:
            self._end_in_phase(self.phases[task.phase_id], task)
        self.remember(task)

    def _release(self, task_id: str, dependents: dict[str, None]) -> None:
        """These wait for a completed task no longer: all of them at once, unless they are very many."""
        if len(dependents) <= RELEASED_MAX:
            self._release_some(dependents, len(dependents))
        else:
            self.released[task_id] = dependents

    def release(self) -> None:
        """Let some of those go on that waited for a task with very many dependents."""
        task_id = next(iter(self.released), None)
        if task_id is not None:
            self._release_some(self.released[task_id], RELEASED_MAX)
            if not self.released[task_id]:
                del self.released[task_id]

    @property
    def unsettled(self) -> bool:
        """Whether dependents are left that were not told, or not looked at."""
        return bool(self.released or self.to_review)

    def _release_some(self, dependents: dict[str, None], count: int) -> None:
        for _ in range(min(count, len(dependents))):
            task = self.tasks[dependents.popitem()[0]]
            task.unmet -= 1
            self.settle(task)

    def _end_in_phase(self, phase: Phase, task: Task) -> None:
        phase.open.pop(task.task_id, None)
        if task.status == "completed":
            phase.completed += 1
        else:
            phase.bad[task.task_id] = None
        self.phases_to_look_at[phase.phase_id] = None

    def reopen(self, task: Task) -> None:
        """A task that had ended is live again."""
        self._ended.pop(task.task_id, None)
        self.watch_dependencies(task)
        self.to_review.extend(self.dependents.get(task.task_id, ()))
        if task.phase_id is not None:
            phase = self.phases[task.phase_id]
            phase.bad.pop(task.task_id, None)
            phase.open[task.task_id] = None
            self.phases_to_look_at[phase.phase_id] = None

    def remember(self, task: Task) -> None:
        """Keep an ended task for a while."""
        self.tasks[task.task_id] = task
        self._ended[task.task_id] = self._turn

    def turn_is_over(self) -> None:
        """What ends from now on is committed later than what ended before."""
        self._turn += 1

    def forget_old(self) -> None:
        """Drop the ended tasks that are beyond what is remembered, but none that live ones depend on, nor any that ended
        in the last turn: it may not be committed yet, and until then the rows do not say that they ended."""
        for _ in range(len(self._ended) - self._ended_max):
            task_id, turn = next(iter(self._ended.items()))
            if turn >= self._turn - 1:
                return
            del self._ended[task_id]
            if task_id in self.dependents:
                self._ended[task_id] = turn
            else:
                del self.tasks[task_id]

    def remove(self, task_id: str) -> None:
        """An ended task is no more. Nothing that could wait for it is left."""
        self.tasks.pop(task_id, None)
        self._ended.pop(task_id, None)

    def add_phase(self, phase: Phase) -> None:
        """Know a phase. What it depends on is known before."""
        self.phases[phase.phase_id] = phase
        self.watch_phases(phase, phase.depends_on)
        if phase.initiative_id is not None:
            self.initiatives[phase.initiative_id].phases[phase.phase_id] = None
        self.phases_to_look_at[phase.phase_id] = None

    def watch_phases(self, phase: Phase, depends_on: Iterable[str]) -> None:
        """From now on the phase depends on these."""
        for needed in phase.depends_on:
            self.phase_dependents.get(needed, {}).pop(phase.phase_id, None)
        phase.depends_on = tuple(depends_on)
        for needed in phase.depends_on:
            self.phase_dependents.setdefault(needed, {})[phase.phase_id] = None

    def queue_tasks_of(self, phase: Phase) -> None:
        """The phase has started: its tasks are to be queued, but those of planning."""
        tasks = (self.tasks[task_id] for task_id in phase.open)
        self.to_queue.extend(task for task in tasks if not (task.queued or task.planning))

    def initiative_of(self, phase_id: str | None) -> Initiative | None:
        """The initiative of a phase, if it has one."""
        initiative_id = self.phases[phase_id].initiative_id if phase_id is not None else None
        return self.initiatives[initiative_id] if initiative_id is not None else None

    def remember_kin(self, task: Task, agent_id: str) -> None:
        """The agent completed the task: more of its kind may suit it."""
        for kin in task.kinship:
            self.kin.pop(kin, None)
            self.kin[kin] = agent_id
        while len(self.kin) > KIN_REMEMBERED_MAX:
            del self.kin[next(iter(self.kin))]
