"""What an agent holds: attempts that wait for a slot, run, or are reported and not yet replied to.

An attempt is held until the reply to its last report came, which is sent after the commit. Until then it stands in
every beat, so that the broker neither sends it again nor misses it.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from hivewire import codec, rehearsal, tracing
from hivewire.asking import Asking
from hivewire.commands.broker import CompleteReport, FailReport, ProgressReport, StartReport
from hivewire.commands.broker import Report as AnyReport
from hivewire.connection import Connection
from hivewire.correlation import correlated
from hivewire.errors import HivewireError, Permanent, RefusedError
from hivewire.handlers import Handlers, error_text, storable
from hivewire.inbox import CancelAttempt, HaltSession, Held, SessionDispatch, TaskDispatch
from hivewire.reporting import Done, Reporting
from hivewire.subjects import AGENT_GATEWAY
from hivewire.task import Task, TaskContext, ThreadContext

Key = tuple[str, int]
Report = CompleteReport | FailReport

NOT_OURS = frozenset({403, 404, 409})
"""Statuses that say: this attempt is no longer yours."""
ENDED_KEPT = 1_000
ENDED_BYTES_MAX = 8 * 1024 * 1024
"""Reports of ended attempts that are kept to be repeated, should the attempt be sent once more."""
UNWIND_S = 6.0
"""For handlers to clean up once they were cancelled."""
REPLIES_S = 3.0
"""For the last reports to be replied to."""
THREADS_MAX = 64

logger = logging.getLogger("hivewire")


@dataclass(slots=True)
class Attempt:
    """One attempt in our hands."""

    task: Task
    running: asyncio.Task[None] | None = None
    context: TaskContext | None = None
    given_up: bool = False
    """Nothing more is reported: it was taken from us, or we stop."""

    @property
    def key(self) -> Key:
        return self.task.id, self.task.attempt


@dataclass(slots=True)
class _Ended:
    """The last reports, oldest first, within a bound of memory."""

    reports: OrderedDict[Key, tuple[Report, int]] = field(default_factory=OrderedDict)
    size: int = 0

    def keep(self, key: Key, report: Report) -> None:
        size = len(bytes(report.result)) if isinstance(report, CompleteReport) else len(report.error)
        self.reports[key] = (report, size)
        self.size += size
        while self.reports and (len(self.reports) > ENDED_KEPT or self.size > ENDED_BYTES_MAX):
            _, (_, dropped) = self.reports.popitem(last=False)
            self.size -= dropped

    def get(self, key: Key) -> Report | None:
        found = self.reports.get(key)
        return found[0] if found else None


@dataclass(slots=True)
class _Lane:
    """Attempts that share the agent's slots."""

    waiting: deque[Attempt] = field(default_factory=deque)
    running: set[asyncio.Task[None]] = field(default_factory=set)


class Workbench:
    """Runs an agent's attempts, `slots` at a time, and reports on them. Rehearsals run beside, so that no work waits for
    them."""

    def __init__(self, connection: Connection, handlers: Handlers, slots: int, instance: str, asking: Asking) -> None:
        self._connection = connection
        self._reporting = Reporting(connection)
        self._handlers = handlers
        self._slots = slots
        self._instance = instance
        self._asking = asking
        self._held: dict[Key, Attempt] = {}
        self._work, self._rehearsals = _Lane(), _Lane()
        self._ended = _Ended()
        self._threads = ThreadPoolExecutor(max_workers=min(2 * slots, THREADS_MAX), thread_name_prefix="hivewire-task")
        self._threads_busy = 0
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    # --- what the agent's beat says -------------------------------------------------------------------
    @property
    def held(self) -> list[Held]:
        return [Held(*attempt.key) for attempt in self._held.values() if not attempt.task.rehearsed]

    @property
    def sessions(self) -> list[str]:
        """The dispatches of simulations."""
        return [_message_id(attempt.key) for attempt in self._held.values() if attempt.task.rehearsed]

    @property
    def free_slots(self) -> int:
        if self._stopping:
            return 0
        return max(0, self._slots - len(self._work.running) - len(self._work.waiting))

    @property
    def threads_busy(self) -> int:
        """Handlers that still run in threads, which nobody can interrupt."""
        return self._threads_busy

    # --- what the inbox brings ------------------------------------------------------------------------
    def hear(self, message: TaskDispatch | CancelAttempt | SessionDispatch | HaltSession) -> None:
        """Begin an attempt at a task or, in a rehearsal, at a simulation's message; or stop working on one."""
        match message:
            case TaskDispatch():
                self._take(Attempt(Task(message)))
            case CancelAttempt(task_id=task_id, attempt=number):
                self._cancel((task_id, number), message.reason, message.instance)
            case SessionDispatch():
                task = rehearsal.as_task(message, sorted(self._handlers.capabilities))
                self._take(Attempt(Task(task, rehearsed=True)))
            case HaltSession():
                for key in [key for key in self._held if _message_id(key) == message.message_id]:
                    self._cancel(key, message.reason)

    def _take(self, attempt: Attempt) -> None:
        """Begin at once, or wait for a free slot. What is held already is not begun twice."""
        if self._stopping or attempt.task.dispatch.instance != self._instance or attempt.key in self._held:
            return
        self._held[attempt.key] = attempt
        self._idle.clear()
        ended = self._ended.get(attempt.key)
        if ended is not None:
            self._report(attempt, ended)
            return
        lane = self._rehearsals if attempt.task.rehearsed else self._work
        lane.waiting.append(attempt)
        self._fill(lane)

    def _cancel(self, key: Key, reason: str, instance: str | None = None) -> None:
        """Stop working on an attempt that is no longer ours."""
        attempt = self._held.get(key)
        if attempt is not None and instance in (None, self._instance):
            self._give_up(attempt, reason or "it was cancelled")

    def _fill(self, lane: _Lane) -> None:
        while lane.waiting and len(lane.running) < self._slots:
            attempt = lane.waiting.popleft()
            if attempt.given_up:
                continue
            attempt.running = asyncio.create_task(self._run(attempt), name=f"task {attempt.task.id}")
            lane.running.add(attempt.running)
            attempt.running.add_done_callback(partial(self._done, lane))

    def _done(self, lane: _Lane, running: asyncio.Task[None]) -> None:
        lane.running.discard(running)
        if not running.cancelled() and running.exception():
            logger.error("an attempt ended without a report", exc_info=running.exception())
        self._fill(lane)
        self._settle()

    @property
    def _running(self) -> set[asyncio.Task[None]]:
        return self._work.running | self._rehearsals.running

    def _give_up(self, attempt: Attempt, reason: str) -> None:
        attempt.given_up = True
        self._held.pop(attempt.key, None)
        if attempt.context:
            attempt.context.cancelled = True
        if attempt.running and not attempt.running.done():
            logger.info("task %s, attempt %d: stopping, %s", *attempt.key, reason)
            attempt.running.cancel()
        self._settle()

    def _settle(self) -> None:
        if not self._held and not self._running:
            self._idle.set()

    # --- one attempt ----------------------------------------------------------------------------------
    async def _run(self, attempt: Attempt) -> None:
        """Run the handler. Whatever it sends meanwhile is correlated with the task."""
        dispatch = attempt.task.dispatch
        labels: dict[str, str | int] = {"hivewire_task": dispatch.task_id, "hivewire_attempt": dispatch.attempt}
        with (
            tracing.span("process", "task", dispatch.traceparent, **labels) as traceparent,
            correlated(dispatch.correlationid or dispatch.task_id, traceparent),
        ):
            await self._run_correlated(attempt)

    async def _run_correlated(self, attempt: Attempt) -> None:
        task = attempt.task
        self._post(attempt, StartReport(task.id, task.attempt, self._instance))
        context = attempt.context = TaskContext(
            task, self._connection, lambda *said: self._progress(attempt, *said), self._asking
        )
        try:
            report = await self._outcome(attempt, context)
        finally:
            await context.close()
        if not attempt.given_up:
            self._report(attempt, report)

    async def _outcome(self, attempt: Attempt, context: TaskContext) -> Report:
        task = attempt.task
        try:
            value = await self._handle(task, context)
            return CompleteReport(task.id, task.attempt, self._instance, result=_encoded(value))
        except Permanent as error:
            return self._failure(attempt, error, retry=False)
        except asyncio.CancelledError as error:
            if attempt.given_up:
                raise
            return self._failure(attempt, error, retry=True)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a handler raises ends its attempt only
            return self._failure(attempt, error, retry=True)

    def _failure(self, attempt: Attempt, error: BaseException, *, retry: bool) -> FailReport:
        text = error_text(error)
        logger.info("task %s, attempt %d failed: %s", *attempt.key, text.partition("\n")[0])
        return FailReport(*attempt.key, self._instance, error=text, retry=retry)

    async def _handle(self, task: Task, context: TaskContext) -> Any:
        handler = self._handlers.choose(task.needs)
        if handler is None:
            needs = ", ".join(task.needs) or "nothing in particular"
            raise HivewireError(f"agent {self._connection.sender!r} has no handler for a task that needs {needs}")
        if handler.is_async:
            return await handler.function(task, context)
        return await self._in_thread(partial(handler.function, task, ThreadContext(context)), context)

    async def _in_thread(self, call: Callable[[], Any], context: TaskContext) -> Any:
        """Run a handler in a thread. When it is cancelled its slot stays taken until it returns by itself."""
        self._threads_busy += 1
        running = asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, call)
        running.add_done_callback(self._thread_done)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            context.cancelled = True
            await asyncio.wait((running,))
            raise

    def _thread_done(self, running: asyncio.Future[Any]) -> None:
        self._threads_busy -= 1
        if not running.cancelled():
            running.exception()  # of a cancelled attempt nobody else reads it

    # --- reports --------------------------------------------------------------------------------------
    def _progress(self, attempt: Attempt, fraction: float | None, text: str) -> None:
        self._post(attempt, ProgressReport(*attempt.key, self._instance, progress=fraction, message=storable(text)))

    def _post(self, attempt: Attempt, report: AnyReport) -> None:
        """Report something that the attempt goes on after."""
        self._say(attempt, report, partial(self._heard, attempt))

    def _say(self, attempt: Attempt, report: AnyReport, done: Done) -> None:
        """Tell whoever gave us the attempt."""
        if attempt.task.rehearsed:
            self._reporting.post_alone(AGENT_GATEWAY, *rehearsal.as_said(report), done)
        else:
            self._reporting.post(report, done)

    def _heard(self, attempt: Attempt, refusal: RefusedError | None) -> None:
        if refusal and refusal.status in NOT_OURS and not attempt.given_up:
            self._give_up(attempt, refusal.error)

    def _report(self, attempt: Attempt, report: Report) -> None:
        """Report how the attempt ended, until somebody replies."""
        self._say(attempt, report, partial(self._reported, attempt, report))

    def _reported(self, attempt: Attempt, report: Report, refusal: RefusedError | None) -> None:
        if refusal is None:
            self._ended.keep(attempt.key, report)
            self._release(attempt)
        elif refusal.status in NOT_OURS:
            logger.info("task %s, attempt %d: the report was not taken, %s", *attempt.key, refusal.error)
            self._release(attempt)
        else:
            self._refused(attempt, report, refusal)

    def _refused(self, attempt: Attempt, report: Report, refusal: RefusedError) -> None:
        """A result that cannot be taken fails the attempt: another one would return the same."""
        if isinstance(report, CompleteReport):
            text = storable(f"the result cannot be taken: {refusal.error}")
            self._report(attempt, FailReport(*attempt.key, self._instance, error=text, retry=False))
            return
        logger.error("task %s, attempt %d: the failure was not taken, %s", *attempt.key, refusal.error)
        self._release(attempt)

    def _release(self, attempt: Attempt) -> None:
        self._held.pop(attempt.key, None)
        self._settle()

    # --- the end --------------------------------------------------------------------------------------
    async def finish(self, grace_s: float) -> None:
        """Take nothing more, let what runs end within `grace_s` seconds, cancel the rest, and see the reports off."""
        self._stopping = True
        for attempt in (*self._work.waiting, *self._rehearsals.waiting):
            self._give_up(attempt, "the agent stops")
        if running := self._running:
            await asyncio.wait(running, timeout=grace_s)
        for attempt in list(self._held.values()):
            if attempt.running and not attempt.running.done():
                self._give_up(attempt, "the agent stops")
        if running := self._running:
            await asyncio.wait(running, timeout=UNWIND_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), REPLIES_S)

    def abandon(self) -> None:
        """Drop everything at once: it is not ours any more."""
        self._stopping = True
        self._work.waiting.clear()
        self._rehearsals.waiting.clear()
        for attempt in list(self._held.values()):
            self._give_up(attempt, "the agent stops")

    def close(self) -> None:
        """Begin no more threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _message_id(key: Key) -> str:
    """How the gateway names the attempt of a session."""
    return f"{key[0]}.{key[1]}"


def _encoded(value: Any) -> msgspec.Raw:
    try:
        return codec.raw(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise Permanent(f"the handler's result cannot be written as JSON: {error}") from error
