"""Whose task is next: owners of equal priority take turns, and each has its own limit on how fast tasks are given out."""

import heapq
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from hivewire_broker.task import Requirements, Task, rank_level

OWNERS_REMEMBERED_MAX: Final = 10_000
BURST_S: Final = 1.0
"""An owner that was idle may be given as many tasks at once as its rate allows in this time, but at least one."""


class OwnerRates:
    """How many tasks a second each owner may be given: a bucket of tokens an owner. No rate: no limit."""

    def __init__(self, per_second: float | None) -> None:
        self._per_second = per_second
        self._full_at: dict[str, datetime] = {}
        """When the owner's bucket is full again."""

    def allowed_at(self, owner: str, now: datetime) -> datetime:
        """When the owner may be given its next task; not after `now`: at once."""
        full_at = self._full_at.get(owner)
        if self._per_second is None or full_at is None:
            return now
        spare_s = max(BURST_S, 1.0 / self._per_second) - 1.0 / self._per_second
        return full_at - timedelta(seconds=spare_s)

    def take(self, owner: str, now: datetime) -> None:
        """The owner was given a task."""
        if self._per_second is None:
            return
        if len(self._full_at) > OWNERS_REMEMBERED_MAX:
            self._full_at = {known: at for known, at in self._full_at.items() if at > now}
        full_at = max(self._full_at.get(owner, now), now)
        self._full_at[owner] = full_at + timedelta(seconds=1.0 / self._per_second)


class Turns:
    """When each owner was last given a task, as a count of all that were given. Remembered in memory only."""

    def __init__(self) -> None:
        self._count = 0
        self._last: dict[str, int] = {}

    def last(self, owner: str) -> int:
        """The owner's last turn; 0: none yet."""
        return self._last.get(owner, 0)

    def take(self, owner: str) -> None:
        """It was the owner's turn."""
        self._count += 1
        self._last.pop(owner, None)
        self._last[owner] = self._count
        if len(self._last) > OWNERS_REMEMBERED_MAX:
            del self._last[next(iter(self._last))]


class Heads:
    """The first tasks of lines, in the order in which they are tried.

    Of all owners that one is next whose first task is on the highest level of priority and, on the same level, which
    had its turn the longest ago. An owner's own tasks come by rank.
    """

    def __init__(self, turns: Turns, tasks: Iterable[Task]) -> None:
        self._turns = turns
        self._lines: dict[str, list[tuple[int, Requirements]]] = {}
        for task in tasks:
            self._lines.setdefault(task.requirements.owner, []).append((task.rank, task.requirements))
        for line in self._lines.values():
            heapq.heapify(line)
        self._owners = [self._entry(owner) for owner in self._lines]
        heapq.heapify(self._owners)

    def __bool__(self) -> bool:
        return bool(self._owners)

    def first(self) -> Requirements:
        """The line whose head is next."""
        return self._lines[self._owners[0][-1]][0][1]

    def replace(self, task: Task | None) -> None:
        """The first line is served: from now on it has this head, or none."""
        owner = self._owners[0][-1]
        line = self._lines[owner]
        if task is None:
            heapq.heappop(line)
        else:
            heapq.heapreplace(line, (task.rank, task.requirements))
        if line:
            heapq.heapreplace(self._owners, self._entry(owner))
        else:
            self.drop_owner()

    def drop_owner(self) -> list[Requirements]:
        """Leave out the owner that is next; returns its lines."""
        owner = heapq.heappop(self._owners)[-1]
        return [requirements for _, requirements in self._lines.pop(owner)]

    def lines(self) -> list[Requirements]:
        """All lines that are left."""
        return [requirements for line in self._lines.values() for _, requirements in line]

    def _entry(self, owner: str) -> tuple[int, int, int, str]:
        rank = self._lines[owner][0][0]
        return rank_level(rank), self._turns.last(owner), rank, owner
