"""What a handler is given: the task, and the context in which it runs."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from hivewire import codec, limits, reads
from hivewire.asking import Answer, Asking
from hivewire.client import Client
from hivewire.commands.conversation import Ask
from hivewire.connection import Connection
from hivewire.errors import HivewireError
from hivewire.ids import question_id
from hivewire.inbox import TaskDispatch
from hivewire.subjects import BROKER, token
from hivewire.views import TaskView

T = TypeVar("T")

PROGRESS_PAUSE_S = 0.2
"""Between two reports of progress of one task; the last one wins."""


class Task:
    """A task, for the attempt that its handler makes at it."""

    def __init__(self, dispatch: TaskDispatch, *, rehearsed: bool = False) -> None:
        self.dispatch = dispatch
        """The message that brought it."""
        self.rehearsed = rehearsed
        """Whether it is a message of a simulation: what should happen only in earnest can be left out."""

    def __repr__(self) -> str:
        return f"Task({self.id}, attempt {self.attempt}: {self.title!r})"

    @property
    def id(self) -> str:
        return self.dispatch.task_id

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self.dispatch.attempt

    @property
    def title(self) -> str:
        return self.dispatch.title

    @property
    def description(self) -> str:
        return self.dispatch.description

    @cached_property
    def payload(self) -> Any:
        """What the submitter sent along, decoded from JSON."""
        return msgspec.json.decode(self.dispatch.payload)

    @cached_property
    def metadata(self) -> Any:
        """What the submitter noted beside it, decoded from JSON."""
        return msgspec.json.decode(self.dispatch.metadata)

    @property
    def labels(self) -> Mapping[str, str]:
        return self.dispatch.labels

    @property
    def needs(self) -> Sequence[str]:
        """The capabilities that the task asked for, in lower case."""
        return self.dispatch.required_capabilities

    @property
    def depends_on(self) -> Sequence[str]:
        """Ids of the tasks that were completed before."""
        return self.dispatch.depends_on

    @property
    def owner(self) -> str:
        return self.dispatch.owner

    @property
    def priority(self) -> int:
        return self.dispatch.priority

    @property
    def type(self) -> str:
        return self.dispatch.type

    @property
    def category(self) -> str:
        return self.dispatch.category

    @property
    def files(self) -> Sequence[str]:
        return self.dispatch.files

    @property
    def parent(self) -> str | None:
        """Id of the task that this one is a part of."""
        return self.dispatch.parent_task_id

    @property
    def timeout_s(self) -> float:
        """How long the attempt may run, in seconds from its start."""
        return self.dispatch.timeout_seconds

    @property
    def deadline(self) -> datetime | None:
        return self.dispatch.deadline


class TaskContext:
    """The hive, as an async handler reaches it. A handler in a thread gets a `ThreadContext`."""

    def __init__(
        self,
        task: Task,
        connection: Connection,
        report: Callable[[float | None, str], None],
        asking: Asking | None = None,
    ) -> None:
        self.task = task
        self.cancelled = False
        """Whether the attempt is no longer ours; what the handler returns then is dropped."""
        self._connection = connection
        self._report = report
        self._asking = asking
        self._asked: Counter[str] = Counter()
        self._progress: tuple[float | None, str] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @cached_property
    def hive(self) -> Client:
        """A client under the agent's name: to submit further tasks, say, and wait for them."""
        return Client(self._connection, asking=self._asking)

    @property
    def result_bytes_max(self) -> int:
        """The largest message that can carry a result."""
        return self._connection.message_bytes_max

    async def progress(self, fraction: float | None, text: str = "") -> None:
        """Report how far the work is. Reports in quick succession are thinned out.

        Args:
            fraction: done so far, from 0 to 1; None: not known.
            text: a note for people.
        """
        self.note_progress(fraction, text)

    def note_progress(self, fraction: float | None, text: str) -> None:
        """The same from the event loop, without waiting."""
        self._progress = (None if fraction is None else min(max(float(fraction), 0.0), 1.0), text)
        if self._timer is None:
            self._send_progress()

    def _send_progress(self) -> None:
        self._timer = None
        if self._progress is not None and not self.cancelled:
            self._report(*self._progress)
            self._progress = None
            self._timer = asyncio.get_running_loop().call_later(PROGRESS_PAUSE_S, self._send_progress)

    async def result_of(self, task_id: str) -> Any:
        """The result of a completed task, such as one that this task depends on.

        Raises:
            HivewireError: the task is not completed, or there is none.
        """
        query = reads.OneTask(token(task_id, "task id"))
        task = await self._connection.read(BROKER, "task", query, TaskView)
        if task.status != "completed":
            raise HivewireError(f"task {task_id} has no result: it is {task.status}")
        return msgspec.json.decode(task.result)

    async def ask(
        self,
        target: str,
        question: Any,
        *,
        timeout_s: float = limits.ANSWER_TIMEOUT_S,
        thread: str | None = None,
    ) -> Answer:
        """Ask a peer and wait for its answer; meanwhile the run timeout of the attempt is paused, for an hour at most.

        A later attempt that asks the same finds the answer that an earlier one did not live to see.

        Args:
            target: `agent:ID`; `task:ID` for who runs it or ran it last; `phase:ID` for an agent at work in it.
            question: a text, or any JSON.
            timeout_s: how long the question stays open, in seconds.
            thread: a conversation that this question follows up.

        Raises:
            NoAnswer: nobody answered in time, or nobody ever will.
            RefusedError: the question cannot be put: all would wait for one another (409), say.
        """
        asking = self._asking or Asking(self._connection)
        encoded = codec.raw(question)
        content = f"{target} {codec.text(encoded)}"
        self._asked[content] += 1
        asker, task, number = self._connection.sender, self.task, self._asked[content]
        ask = Ask(
            target=target,
            question=encoded,
            timeout_seconds=timeout_s,
            thread=thread,
            id=question_id(asker, task.id, number, content),
            task_id=None if task.rehearsed else task.id,
            attempt=None if task.rehearsed else task.attempt,
        )
        return await asking.ask(ask, again=question_id(asker, task.id, number, f"{task.attempt} {content}"))

    async def message(self, target: str, content: Any) -> None:
        """Say something to a peer without expecting an answer."""
        await self.hive.message(target, content)

    async def close(self) -> None:
        """The attempt is over."""
        if self._timer:
            self._timer.cancel()
        if "hive" in self.__dict__:
            await self.hive.close()


class ThreadContext:
    """The hive, as a handler that runs in a thread reaches it: the same calls, without `await`."""

    def __init__(self, context: TaskContext) -> None:
        self.task = context.task
        self._context = context
        self._loop = asyncio.get_running_loop()

    @property
    def cancelled(self) -> bool:
        """Whether to stop: the attempt is no longer ours, and nobody can interrupt a thread."""
        return self._context.cancelled

    @property
    def result_bytes_max(self) -> int:
        """The largest message that can carry a result."""
        return self._context.result_bytes_max

    def progress(self, fraction: float | None, text: str = "") -> None:
        """Report how far the work is; see `TaskContext.progress`."""
        self._loop.call_soon_threadsafe(self._context.note_progress, fraction, text)

    def result_of(self, task_id: str) -> Any:
        """The result of a completed task; see `TaskContext.result_of`."""
        return self._wait(self._context.result_of(task_id))

    def ask(
        self,
        target: str,
        question: Any,
        *,
        timeout_s: float = limits.ANSWER_TIMEOUT_S,
        thread: str | None = None,
    ) -> Answer:
        """Ask a peer and wait for its answer; see `TaskContext.ask`."""
        return self._wait(self._context.ask(target, question, timeout_s=timeout_s, thread=thread))

    def message(self, target: str, content: Any) -> None:
        """Say something to a peer; see `TaskContext.message`."""
        self._wait(self._context.message(target, content))

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
