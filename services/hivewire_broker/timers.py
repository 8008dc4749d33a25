"""What is due when: a heap with at most one live entry a task.

An entry that became pointless stays where it is: when it comes up, the task is asked again what it waits for.
"""

import heapq
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from hivewire_broker.task import Task

_STALE_ENTRIES_MIN: Final = 10_000
"""Below this many entries the heap is not worth rebuilding."""


class Timers:
    """Due times of tasks."""

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self._tasks = tasks
        self._heap: list[tuple[datetime, str]] = []

    def arm(self, task: Task, due: datetime) -> None:
        """Make sure that the task comes up at `due` or before."""
        if task.armed_at is None or due < task.armed_at:
            task.armed_at = due
            heapq.heappush(self._heap, (due, task.task_id))
            if len(self._heap) > _STALE_ENTRIES_MIN + 2 * len(self._tasks):
                self._drop_stale()

    def next_due(self) -> datetime | None:
        """When the next task comes up, perhaps for nothing."""
        return self._heap[0][0] if self._heap else None

    def pop(self, now: datetime) -> Task | None:
        """A task whose time has come, or None. It is disarmed."""
        while self._heap and self._heap[0][0] <= now:
            due, task_id = heapq.heappop(self._heap)
            task = self._tasks.get(task_id)
            if task is not None and task.armed_at == due:
                task.armed_at = None
                return task
        return None

    def _drop_stale(self) -> None:
        self._heap = [entry for entry in self._heap if self._is_live(*entry)]
        heapq.heapify(self._heap)

    def _is_live(self, due: datetime, task_id: str) -> bool:
        task = self._tasks.get(task_id)
        return task is not None and not task.ended and task.armed_at == due
