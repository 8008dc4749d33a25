"""The ready tasks: one line for each class of requirements, ordered by rank: priority, then age.

Tasks that can go to the same agents stand in the same line, so that finding the next task for an agent looks at the
heads of lines and never at all tasks.
"""

import heapq
from collections import deque
from collections.abc import Iterator

from hivewire_broker.task import Requirements, Task

Line = list[tuple[int, Task]]


class ReadyQueue:
    """Lines of tasks. A task that stopped being ready, or got another rank, stays where it is, and is dropped when it
    reaches the head."""

    def __init__(self) -> None:
        self._lines: dict[Requirements, Line] = {}
        self.grown: set[Requirements] = set()
        """Lines that got a task since the matcher last looked at them."""
        self.newcomers: deque[Task] = deque()
        """Tasks that got in line since the matcher last looked."""

    def push(self, task: Task) -> None:
        """Put a task in line, if it is in none."""
        if not task.in_line:
            task.in_line = True
            heapq.heappush(self._lines.setdefault(task.requirements, []), (task.rank, task))
            self.grown.add(task.requirements)
            self.newcomers.append(task)

    def move(self, task: Task) -> None:
        """Give a task in line the place of its new rank."""
        if task.in_line:
            task.in_line = False
            self.push(task)

    def lines(self) -> Iterator[Requirements]:
        """The requirements that tasks in line have."""
        return iter(self._lines)

    def head(self, requirements: Requirements) -> Task | None:
        """The first task of a line, ready or not."""
        line = self._lines.get(requirements)
        while line:
            rank, task = line[0]
            if task.in_line and rank == task.rank:
                return task
            heapq.heappop(line)
        if line is not None:
            del self._lines[requirements]
        return None

    def pop(self, requirements: Requirements) -> None:
        """Take the first task out of a line; `head` has just given it."""
        line = self._lines[requirements]
        heapq.heappop(line)[1].in_line = False
        if not line:
            del self._lines[requirements]

    def waiting(self, requirements: Requirements) -> list[Task]:
        """All tasks of a line, in no particular order."""
        return [task for _, task in self._lines.get(requirements, ())]
