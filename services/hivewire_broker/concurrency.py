"""Limits on how many tasks of a key are with agents at once.

A task that reaches the head of its line while its key is full is set aside, so that it holds up nobody behind it. When
the key gets room again, each line gets the first of its tasks back: whichever agent is free first finds one.
"""

import heapq
from collections import Counter
from collections.abc import Iterator

from hivewire_broker.queue import Line
from hivewire_broker.task import Requirements, Task


class KeyLimits:
    """Counts what is with agents by key, and keeps what had to be set aside."""

    def __init__(self) -> None:
        self.held: Counter[str] = Counter()
        self._aside: dict[str, dict[Requirements, Line]] = {}

    def has_room(self, task: Task, more: int = 0) -> bool:
        """Whether the task may go to an agent beside those that are with agents and `more` of the same key."""
        key = task.concurrency_key
        return key is None or self.held[key] + more < task.max_concurrent

    def take(self, task: Task) -> None:
        """The task is with an agent."""
        if task.concurrency_key is not None:
            self.held[task.concurrency_key] += 1

    def give_back(self, task: Task) -> None:
        """The task is with no agent any more."""
        key = task.concurrency_key
        if key is not None:
            self.held[key] -= 1
            if not self.held[key]:
                del self.held[key]

    def set_aside(self, task: Task) -> None:
        """Keep a task until its key may have room."""
        assert task.concurrency_key is not None
        lines = self._aside.setdefault(task.concurrency_key, {})
        heapq.heappush(lines.setdefault(task.requirements, []), (task.rank, task))

    def returning(self, key: str) -> Iterator[Task]:
        """The first task of each line, now that the key may have room."""
        lines = self._aside.get(key, {})
        for requirements, line in tuple(lines.items()):
            while line:
                task = heapq.heappop(line)[1]
                if task.dispatchable and not task.in_line:
                    yield task
                    break
            if not line:
                del lines[requirements]
        if not lines:
            self._aside.pop(key, None)
