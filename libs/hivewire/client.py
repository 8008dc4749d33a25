"""The client: submit tasks, wait for them, and see what goes on in the hive."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Self, TypeVar, Unpack

import msgspec

from hivewire import bulk, history, limits, paging, reads
from hivewire.commands import broker as commands
from hivewire.commands.agent_gateway import AgentBrief, Drain, Remove, Undrain
from hivewire.commands.broker import Submit
from hivewire.connection import Connection
from hivewire.context import Context, find_context
from hivewire.errors import HivewireError, TaskCancelled, TaskFailed
from hivewire.membership import join
from hivewire.nats_context import nats_context
from hivewire.paging import PageOf
from hivewire.results import Results
from hivewire.subjects import AGENT_GATEWAY, BROKER, token
from hivewire.submission import TaskOptions, submission
from hivewire.views import (
    AgentView,
    EventView,
    Explanation,
    QueueView,
    RejectView,
    Stats,
    TaskBrief,
    TaskView,
    Why,
)

T = TypeVar("T")

_LISTING = reads.Listing(limits.LIST_ITEMS_MAX)


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


class Client:
    """A member of a hive that submits and reads.

    Commands are repeated until the service answered, and no repeat can do a thing twice. Every method raises
    RefusedError when the service says no, and NotReachable when it does not answer in time.
    """

    def __init__(self, connection: Connection, timeout_s: float = limits.REQUEST_TIMEOUT_S) -> None:
        self.connection = connection
        self.timeout_s = timeout_s
        self._results = Results(connection)

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(
        cls,
        nats_url: str | None = None,
        creds: str | None = None,
        hive: str | None = None,
        name: str | None = None,
        context: Context | str | None = None,
    ) -> AsyncIterator[Self]:
        """Connect to a hive, by what is said here, else by NATS_URL, NATS_CREDS and HIVEWIRE_DATA, else to the one
        that the same user's `hivewire up` runs.

        Args:
            nats_url: one or more server URLs, separated by commas.
            creds: path of a credentials file.
            hive: the hive's name.
            name: who to be; where the local operator's credentials are at hand, a publisher's are made for the name.
            context: all of that, found before; or the name of a context of the `nats` command.

        Raises:
            NotReachable: there is no hive, or it does not answer.
            BadUsage: the credentials cannot be used.
        """
        if isinstance(context, str):
            context = nats_context(context, hive)
        found = context or find_context(nats_url=nats_url, nats_creds=creds, hive=hive)
        async with await join(found, name) as connection:
            client = cls(connection)
            try:
                yield client
            finally:
                await client.close()

    async def close(self) -> None:
        """Stop waiting for results. The connection stays open for whoever opened it."""
        await self._results.close()

    # --- tasks ----------------------------------------------------------------------------------------
    async def submit(self, title: str, **options: Unpack[TaskOptions]) -> TaskHandle:
        """Submit a task; when this returns it is accepted for good. `TaskOptions` says what else may be said of it.

        Raises:
            RefusedError: the task cannot be taken: an unknown dependency, say, or too large a payload.
            BadUsage: an option is unknown or has a value that no task can have.
        """
        return await self.submit_one(submission(title, **options))

    async def submit_one(self, task: Submit) -> TaskHandle:
        """Submit a task that was put together before."""
        brief = await self._command(BROKER, "submit", task, TaskBrief)
        return TaskHandle(self, brief.task_id, created=brief.created is not False)

    async def submit_many(
        self, tasks: Iterable[Submit | Mapping[str, Any]], progress: bulk.Progress | None = None
    ) -> list[TaskHandle | HivewireError]:
        """Submit any number of tasks. They may depend on one another, by id or by key, in any order.

        Args:
            tasks: mappings with a title and the fields of `TaskOptions`, or tasks put together before.
            progress: is told how many were dealt with each time some were.

        Returns:
            For each task its handle, or why it was not taken. The others are taken all the same.
        """
        outcomes = await bulk.submit(self.connection, list(tasks), progress)
        return [
            outcome
            if isinstance(outcome, HivewireError)
            else TaskHandle(self, outcome.task_id, created=outcome.created)
            for outcome in outcomes
        ]

    def handle(self, task_id: str) -> TaskHandle:
        """A task that was submitted before."""
        return TaskHandle(self, token(task_id, "task id"))

    async def result(self, task_id: str, timeout_s: float | None = None) -> Any:
        """What a task's handler returned, once it is completed. Raises what `TaskHandle.result` raises."""
        task = await self.ended(task_id, timeout_s)
        if task.status == "completed":
            return msgspec.json.decode(task.result)
        if task.status == "cancelled":
            raise TaskCancelled(f"task {task_id} was cancelled{_because(task.reason)}")
        raise TaskFailed(f"task {task_id} {task.status.replace('_', '-')}{_because(task.error or task.reason)}")

    async def ended(self, task_id: str, timeout_s: float | None = None) -> TaskView:
        """A task once it has ended, however it did.

        Raises:
            TimeoutError: it did not end within `timeout_s` seconds.
        """
        async with asyncio.timeout(timeout_s):
            return await self._results.ended(token(task_id, "task id"))

    def watch(self, task_id: str | None = None) -> AsyncIterator[EventView]:
        """The events of a task from its beginning until it has ended; without an id, all events from now on."""
        if task_id is None:
            return history.follow(self.connection, reads.ListEvents(since=datetime.now(UTC)))
        return history.of_task(self.connection, token(task_id, "task id"))

    async def cancel(self, task_id: str, reason: str = "") -> TaskBrief:
        """End a task that has not ended; an agent that works on it is told to stop."""
        return await self._command(BROKER, "cancel", commands.Cancel(task_id, reason), TaskBrief)

    async def retry(self, task_id: str, reason: str = "") -> TaskBrief:
        """Open a task that ended without success again, with a fresh retry budget."""
        return await self._command(BROKER, "retry", commands.Retry(task_id, reason), TaskBrief)

    async def task(self, task_id: str) -> TaskView:
        """A task with its attempts."""
        return await self._read(BROKER, "task", reads.OneTask(token(task_id, "task id")), TaskView)

    async def tasks(self, query: reads.ListTasks | None = None) -> PageOf[TaskView]:
        """A page of tasks, newest first."""
        return await self._read(BROKER, "tasks", query or reads.ListTasks(), PageOf[TaskView])

    async def queue(self, limit: int = 100) -> QueueView:
        """What waits, and the head of the queue."""
        return await self._read(BROKER, "queue", reads.Listing(limit), QueueView)

    async def explain(self, task_id: str, attempt: int | None = None) -> Explanation:
        """Why an attempt, by default the last, went to its agent."""
        return await self._read(BROKER, "explain", reads.Explain(token(task_id, "task id"), attempt), Explanation)

    async def why(self, task_id: str) -> Why:
        """Why a task is where it is, in one sentence."""
        return await self._read(BROKER, "why", reads.OneTask(token(task_id, "task id")), Why)

    def dead(self, at_most: int | None = None) -> AsyncIterator[TaskView]:
        """Tasks that ended failed or dead_lettered, newest first."""
        return paging.items(self.connection, BROKER, "dead", _LISTING, TaskView, at_most)

    async def stats(self) -> Stats:
        """Counts over all tasks that are kept."""
        return await self._read(BROKER, "stats", reads.Nothing(), Stats)

    # --- history --------------------------------------------------------------------------------------
    async def events(self, query: reads.ListEvents | None = None) -> PageOf[EventView]:
        """A page of the history."""
        return await self._read(BROKER, "events", query or reads.ListEvents(), PageOf[EventView])

    def rejects(self, at_most: int | None = None) -> AsyncIterator[RejectView]:
        """Messages that could not be taken, newest first."""
        return paging.items(self.connection, BROKER, "rejects", _LISTING, RejectView, at_most)

    async def reject(self, reject_id: int) -> RejectView:
        """One of them."""
        return await self._read(BROKER, "reject", reads.OneReject(reject_id), RejectView)

    # --- agents ---------------------------------------------------------------------------------------
    def agents(self, at_most: int | None = None) -> AsyncIterator[AgentView]:
        """The registry, by id."""
        return paging.items(self.connection, AGENT_GATEWAY, "agents", _LISTING, AgentView, at_most)

    async def agent(self, agent_id: str) -> AgentView:
        """One agent."""
        return await self._read(AGENT_GATEWAY, "agent", reads.OneAgent(token(agent_id, "agent id")), AgentView)

    async def drain(self, agent_id: str) -> AgentBrief:
        """Let an agent finish what it holds, and give it nothing new."""
        return await self._command(AGENT_GATEWAY, "drain", Drain(token(agent_id, "agent id")), AgentBrief)

    async def undrain(self, agent_id: str) -> AgentBrief:
        """Let an agent be given work again."""
        return await self._command(AGENT_GATEWAY, "undrain", Undrain(token(agent_id, "agent id")), AgentBrief)

    async def remove(self, agent_id: str) -> AgentBrief:
        """Forget an agent. What it holds is given to others."""
        return await self._command(AGENT_GATEWAY, "remove", Remove(token(agent_id, "agent id")), AgentBrief)

    # --- the line -------------------------------------------------------------------------------------
    async def _command(self, service: str, verb: str, data: object, wanted: type[T]) -> T:
        return await self.connection.command(service, verb, data, wanted, timeout_s=self.timeout_s)

    async def _read(self, service: str, query: str, params: object, wanted: type[T]) -> T:
        return await self.connection.read(service, query, params, wanted, timeout_s=self.timeout_s)


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""
