"""A task that was submitted, to be waited for and steered without naming it again."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from hivewire.views import EventView, TaskBrief, TaskView

if TYPE_CHECKING:
    from hivewire.client import Client


class TaskHandle:
    """A submitted task. `created` is False when the same task was known before."""

    def __init__(self, client: "Client", task_id: str, *, created: bool = True) -> None:
        self._client = client
        self.id = task_id
        self.created = created

    def __repr__(self) -> str:
        return f"TaskHandle({self.id})"

    async def result(self, timeout_s: float | None = None) -> Any:
        """What the task's handler returned, once the task is completed.

        Raises:
            TaskFailed: it ended failed or dead_lettered.
            TaskCancelled: it was cancelled.
            TimeoutError: it did not end within `timeout_s` seconds. The task goes on.
        """
        return await self._client.result(self.id, timeout_s)

    async def ended(self, timeout_s: float | None = None) -> TaskView:
        """The task once it has ended, however it did.

        Raises:
            TimeoutError: it did not end within `timeout_s` seconds.
        """
        return await self._client.ended(self.id, timeout_s)

    async def view(self) -> TaskView:
        """The task as it stands."""
        return await self._client.task(self.id)

    async def status(self) -> str:
        """Where the task is: pending, assigned, running ... completed."""
        return (await self.view()).status

    async def cancel(self, reason: str = "") -> TaskBrief:
        """End the task; an agent that works on it is told to stop."""
        return await self._client.cancel(self.id, reason)

    def watch(self) -> AsyncIterator[EventView]:
        """The task's events from its beginning, until it has ended."""
        return self._client.watch(self.id)
