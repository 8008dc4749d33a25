"""The loop that every service runs on.

    subject --> decode --> decide --> commit --> publish
     (bus)      (codec)    (pure)   (Postgres)    (bus)

A turn takes what is waiting, decides it in order, commits all of it in one transaction together with the place in the
command stream, and only then replies and publishes. Nothing is acknowledged on the bus; the place in Postgres is what
tells which command is next, so none is decided twice.

Whatever goes wrong ends the term of ownership: the lease is taken again with a new epoch and the state loaded from
Postgres. A batch that fails for a reason of its own is then repeated one command at a time, and what fails alone is
committed to the rejects.
"""

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import structlog

from hivewire import limits, tracing
from hivewire.subjects import Subjects
from hivewire_service import metrics
from hivewire_service.audit import Audit
from hivewire_service.bus import TRANSIENT, Bus
from hivewire_service.clock import Clock
from hivewire_service.core import Core, Rows, Write
from hivewire_service.health import Health
from hivewire_service.hearing import Hearing
from hivewire_service.inflow import Inflow
from hivewire_service.intake import Intake, Taken
from hivewire_service.lease import Lease, Term
from hivewire_service.outbox import Outbox
from hivewire_service.retention import Cut, Decide, Keeping, Periods, Retention
from hivewire_service.side_by_side import end, until_first_ends
from hivewire_service.stock import Meter
from hivewire_service.store import (
    CONNECTION_ERRORS,
    TURN_TIMEOUT_S,
    Fenced,
    Outcome,
    Position,
    Store,
    Unit,
    is_passing,
)
from hivewire_service.topology import command_stream
from hivewire_service.turn import BatchFailed, Chore, Deciding, Turn
from hivewire_service.upkeep import SILENCE_S_MIN, Pulse, purge

T = TypeVar("T")

log = structlog.get_logger()

IDLE_S_MAX = 60.0
WATERMARK_EVERY_S = 1.0
OBSERVED_SOON_S = 0.1
TERM_PAUSE_FIRST_S = 0.1
TERM_PAUSE_S_MAX = 5.0
HEALTHY_S = 30.0
"""A term that lasted so long, or that decided a command, had begun well."""


def _blaming(turn: Turn, error: Exception) -> Exception:
    """What ends the term: the error itself, or that the turn's batch failed where the reason may lie in that.

    While a turn is decided it may be found that the one before has failed: that is what to blame then.
    """
    if isinstance(error, BatchFailed) or is_passing(error) or not turn.taken:
        return error
    return BatchFailed(turn.taken, error)


@dataclass(frozen=True, slots=True)
class Parts:
    """What makes a service out of the loop."""

    core: Core
    rows: Rows
    while_owner: tuple[Callable[["Service"], Coroutine[Any, Any, None]], ...] = ()
    """What runs beside the loop as long as it owns the service, feeding `Service.observe`."""
    keeping: Keeping = field(default_factory=Keeping)
    meter: Meter = field(default_factory=Meter)


class Service:
    """One service: standby until the lease is its own, then owner."""

    def __init__(
        self,
        name: str,
        parts: Parts,
        *,
        bus: Bus,
        store: Store,
        lease: Lease,
        subjects: Subjects,
        clock: Clock,
        health: Health,
        stream_replicas: int,
        periods: Periods = Periods(),  # noqa: B008  # it is frozen
        commands_per_second: float = limits.COMMANDS_PER_SECOND,
    ) -> None:
        self.name = name
        self.core = parts.core
        self.bus = bus
        self.store = store
        self.subjects = subjects
        self.clock = clock
        self._rows = parts.rows
        self._while_owner = parts.while_owner
        self._retention = Retention(self, parts.keeping, periods, clock.now)
        self._meter = parts.meter
        self._lease = lease
        self._health = health
        self._replicas = stream_replicas
        intake = Intake(subjects, name, parts.core.verbs, commands_per_second)
        self._inflow = Inflow(bus, intake, lambda: self._position, self._arrived)
        self._deciding = Deciding(parts.core, subjects, name)
        self._audit = Audit()
        self._wake = asyncio.Event()
        self._observations: deque[Any] = deque()
        self._chores: deque[Chore] = deque()
        self._waking_soon: asyncio.TimerHandle | None = None
        self._silence_s = 0.0
        self._pulse = Pulse()
        self._lost = False
        self._cut_off = asyncio.Event()
        self._decided = False
        self._stopping = False
        self._owns = False
        self._position = Position()
        self._committed = Position()
        self._committed_s = time.monotonic()
        self._committing: asyncio.Task[Turn] | None = None
        self._outbox: Outbox
        self._reader: Hearing

    # life -------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Own the service whenever that is possible, until `stop`.

        A term that ends early is followed by the next one at once; where that achieves nothing either, the pauses grow.
        """
        pause_s = 0.0
        while not self._stopping:
            self._health.set(role="standby", loading=True)
            term = await self._unless_stopped(self._lease.acquire())
            if term is None:
                return
            began_s = time.monotonic()
            await self._serve(term)
            if self._decided or time.monotonic() - began_s > HEALTHY_S:
                pause_s = 0.0
            await self._unless_stopped(asyncio.sleep(pause_s))
            pause_s = min(2 * pause_s or TERM_PAUSE_FIRST_S, TERM_PAUSE_S_MAX)

    async def _serve(self, term: Term) -> None:
        """Own the service until `stop`, or until something went wrong."""
        self._lost = self._decided = False
        self._cut_off.clear()
        self._lease.keep(term, self._lease_lost(asyncio.get_running_loop()))
        log.info("owner", service=self.name, epoch=term.epoch)
        metrics.LEASE_EPOCH.labels(self.name).set(term.epoch)
        try:
            await self._own(term)
        except Exception as error:  # noqa: BLE001  # what it does not know is raised again
            self._set_back(error)
            await self.store.connect_anew(at_once=is_passing(error))
        else:
            await self._lease.release(term)
        finally:
            self._owns = False
            self._lease.stop()

    def stop(self) -> None:
        """End after the current turn."""
        self._stopping = True
        self._wake.set()

    def owns(self) -> bool:
        """Whether it took the lease, has its state, and renewed the lease in time."""
        return self._owns and self._lease.is_kept

    @property
    def decided_seq(self) -> int:
        """The last command of the stream whose effects are committed."""
        return self._committed.command_seq

    @property
    def publish_backlog(self) -> int:
        """Committed events that are not known to be on the bus."""
        return self._outbox.backlog

    def observe(self, observation: Any) -> None:
        """Hand something seen to the core, in the loop's own turn."""
        self._observations.append(observation)
        self._take_observations()

    def observe_soon(self, observation: Any) -> None:
        """The same for what comes in numbers and is not urgent: one turn takes all of a tenth of a second."""
        self._observations.append(observation)
        self._take_soon()

    def _arrived(self, *, soon: bool) -> None:
        if soon:
            self._take_soon()
        else:
            self._wake.set()

    def _take_soon(self) -> None:
        if self._waking_soon is None:
            self._waking_soon = asyncio.get_running_loop().call_later(OBSERVED_SOON_S, self._take_observations)

    def _take_observations(self) -> None:
        if self._waking_soon is not None:
            self._waking_soon.cancel()
            self._waking_soon = None
        self._wake.set()

    async def do(self, decide: Decide) -> bool:
        """Let `decide` have a turn of its own, which sees the rows as they stand; return once that is committed.

        Returns:
            whether there was anything to commit.
        """
        chore = Chore(decide, asyncio.get_running_loop().create_future())
        self._chores.append(chore)
        self._wake.set()
        return await chore.done

    def silence(self, seconds: float) -> None:
        """Nothing could be heard for so long: deadlines that depend on being heard move."""
        self._silence_s = max(self._silence_s, seconds)
        self._wake.set()

    async def _unless_stopped(self, coroutine: Coroutine[Any, Any, T]) -> T | None:
        """Wait for something; None: told to stop before."""
        waited_for = asyncio.ensure_future(coroutine)
        while not waited_for.done():
            self._wake.clear()
            if self._stopping:
                waited_for.cancel()
                return None
            waking = asyncio.ensure_future(self._wake.wait())
            await asyncio.wait((waited_for, waking), return_when=asyncio.FIRST_COMPLETED)
            waking.cancel()
        return waited_for.result()

    def _lease_lost(self, loop: asyncio.AbstractEventLoop) -> Callable[[bool], None]:
        def lost(to_another: bool) -> None:
            if to_another:
                self._lost = True
                self._wake.set()
            else:
                self._cut_off.set()

        def call_lost(to_another: bool) -> None:
            loop.call_soon_threadsafe(lost, to_another)

        return call_lost

    async def _until_cut_off(self) -> None:
        """Postgres does not answer: a turn that waits for it would wait in vain."""
        await self._cut_off.wait()
        raise TimeoutError("the lease could not be renewed")

    def _set_back(self, error: Exception) -> None:
        """Take note of what ended a term, so that the next one goes around it."""
        if isinstance(error, BatchFailed):
            log.error("batch failed, repeating it one by one", service=self.name, error=str(error))
            self._inflow.set_back(error)
        elif isinstance(error, Fenced):
            log.warning("lease lost, standing by", service=self.name)
        elif isinstance(error, (*TRANSIENT, *CONNECTION_ERRORS)):
            reason = str(error) or type(error).__name__
            self._health.set(trouble=reason)
            log.warning("term ended, starting anew", service=self.name, error=reason)
        else:
            raise error

    async def _own(self, term: Term) -> None:
        self._health.set(role="owner", loading=True)
        await self._load(term)
        self._health.set(loading=False)
        self._owns = True
        beside = (
            self._until_cut_off(),
            self._reader.run(),
            self._outbox.run(),
            self._pulse.run(self.silence),
            purge(self.bus, self.subjects.command_stream(self.name), lambda: self._committed.command_seq),
            self._retention.run(),
        )
        await until_first_ends(self._work(term), *beside, *(make(self) for make in self._while_owner))

    async def _load(self, term: Term) -> None:
        """State and position from Postgres, and a reader that goes on behind the position."""
        gc.unfreeze()
        connection = await self.store.owner()
        now = self.clock.now()
        self._position = self._committed = await self.store.read_position(connection)
        await self._rows.load(connection, now)
        await self.store.add_event_partitions(now)
        self.core.extend(term.vacant_s, now)
        self._inflow.begin()
        self._observations.clear()
        self._chores.clear()
        self._outbox = Outbox(self.bus, self.store, self.subjects, self._position, self._replicas, self.clock.now)
        self._reader = Hearing(
            self.bus,
            stream=lambda: self.bus.ensure_stream(command_stream(self.subjects, self.name, self._replicas)),
            filter_subject=self.subjects.commands_of(self.name),
            start=self._inflow.first_seq,
            deliver=self._inflow.deliver,
            room=lambda: self._inflow.waiting.has_room,
            silence=self.silence,
            directly=self.subjects.commands_of(self.name),
        )
        self._pulse = Pulse()
        # What was loaded stays: no later collection has to look at it.
        gc.collect()
        gc.freeze()

    # one turn ---------------------------------------------------------------------------------------
    async def _work(self, term: Term) -> None:
        """Turn after turn. Where much waits, a turn is decided while the one before is being committed, and that one is said
        while the turn itself is."""
        try:
            while not self._stopping:
                await self._turn(term)
            await self._through()
        finally:
            if self._committing is not None:
                await end((self._committing,))
                self._committing = None

    async def _turn(self, term: Term) -> None:
        await self._something_to_do()
        if self._lost:
            raise Fenced(f"{self.name}: another owner has the lease")
        chore = self._chores.popleft() if self._chores else None
        turn = Turn(self.clock.now(), self._position.event_seq, [] if chore else self._inflow.take(), chore)
        await self._reader.resume()
        try:
            await self._decide(turn)
            turn.audited = self._audit.entries(turn.rejects, turn.now)
            unit = Unit(
                at=turn.now,
                position=self._position_after(turn),
                writes=list(self._rows.writes(turn.events, turn.records, turn.now)),
                events=turn.stored,
                outcomes=turn.outcomes,
                rejects=turn.audited,
            )
            statement = self.store.statement(term.epoch, unit) if self._is_worth_committing(turn, unit) else None
        except Exception as error:
            await self._through()  # it is not to blame
            raise _blaming(turn, error) from error
        before = await self._made_true()
        if statement is not None:
            self._position = unit.position
            self._committing = asyncio.create_task(self._commit(term, turn, unit.position, statement))
            self._committing.add_done_callback(lambda _: self._wake.set())
            await asyncio.sleep(0)  # its statement is with Postgres before anything else is done
        if before is not None:
            await self._say(before)
        if statement is None:
            await self._say(turn)

    async def _through(self) -> None:
        """Wait until the turn before is committed, and say so; raise what went wrong with it."""
        before = await self._made_true()
        if before is not None:
            await self._say(before)

    async def _made_true(self) -> Turn | None:
        """The turn before, once it is committed; it has to be said. Raises what went wrong with it."""
        committing, self._committing = self._committing, None
        return None if committing is None else await committing

    async def _commit(self, term: Term, turn: Turn, position: Position, statement: Write) -> Turn:
        try:
            with metrics.series(metrics.COMMIT_SECONDS, self.name).time():
                await self.store.execute(term.epoch, statement)
        except Exception as error:
            raise _blaming(turn, error) from error
        self._committed = position
        self._committed_s = time.monotonic()
        self._health.set(trouble="")
        self._decided = self._decided or bool(turn.taken)
        return turn

    async def _say(self, turn: Turn) -> None:
        self._meter.count(turn.events)  # before the state moves on
        await self._publish(turn)
        self._count(turn)
        if tracing.enabled():
            turn.trace(self.name)
        if turn.chore is not None and not turn.chore.done.done():
            turn.chore.done.set_result(bool(turn.stored or turn.records))

    def _is_worth_committing(self, turn: Turn, unit: Unit) -> bool:
        """The watermark alone is written down at most once a second: its loss costs nothing but repeats."""
        if turn.taken or unit.writes or turn.stored:
            return True
        return unit.position != self._committed and time.monotonic() - self._committed_s >= WATERMARK_EVERY_S

    async def _something_to_do(self) -> None:
        """Wait for input, for a deadline, or for a watermark that is worth writing down; while a commit is under way,
        for its end, or for so much input that deciding it need not wait."""
        while self._committing is not None and not self._committing.done():
            if self._inflow.is_much and not (self._chores or self._lost):
                return
            self._wake.clear()
            await self._wake.wait()
        await self._through()
        if not (
            self._inflow.is_urgent
            or self._chores
            or ((self._observations or self._inflow.waiting) and not self._waking_soon)
            or self._silence_s
            or self._lost
        ):
            self._wake.clear()
            due = self.core.next_due()
            pause_s = IDLE_S_MAX if due is None else (due - self.clock.now()).total_seconds()
            if self._outbox.published_seq != self._position.published_seq or self._outbox.backlog:
                pause_s = min(pause_s, WATERMARK_EVERY_S)
            if self._reader.is_deaf:
                pause_s = max(pause_s, WATERMARK_EVERY_S)
            if pause_s > 0 and not self._stopping:
                timer = asyncio.get_running_loop().call_later(min(pause_s, IDLE_S_MAX), self._wake.set)
                await self._wake.wait()
                timer.cancel()

    async def _decide(self, turn: Turn) -> None:
        if turn.chore is not None:
            await self._decide_chore(turn, turn.chore)
            return
        known = await self._prepare(turn)
        self._note_silence(turn.now)
        for taken in turn.taken:
            self._deciding.command(turn, taken, known, kept=self._is_kept(taken))
        while self._observations:
            self._deciding.follow(turn, self.core.observe(self._observations.popleft(), turn.now))
        if not self._reader.is_deaf:  # what did not happen says nothing while nothing can be heard
            self._deciding.follow(turn, self.core.advance(turn.now))

    async def _decide_chore(self, turn: Turn, chore: Chore) -> None:
        try:
            step = await chore.decide(await self.store.owner(), Cut(turn.now, self._position.event_seq))
        except Exception as error:
            if is_passing(error):
                raise
            # Nothing has changed yet, and the work of the service does not depend on it.
            chore.done.set_exception(error)
        else:
            self._deciding.follow(turn, step)

    async def _prepare(self, turn: Turn) -> dict[tuple[str, str], Outcome]:
        """Fetch what deciding needs and memory lacks; return the outcomes of commands that are repeats."""
        commands = [taken.command for taken in turn.taken if taken.command]
        if not commands:
            return {}
        kept = [
            (taken.command.id, taken.command.sender)
            for taken in turn.taken
            if taken.command and (self._is_kept(taken) or taken.received.seq <= self._reader.repeats_until)
        ]
        if kept or not self.core.decided_ahead.issuperset(command.verb for command in commands):
            await self._through()
        async with asyncio.timeout(TURN_TIMEOUT_S):
            connection = await self.store.reader()
            await self._rows.load_for(connection, commands, turn.now)
            return await self.store.known_outcomes(connection, kept) if kept else {}

    def _is_kept(self, taken: Taken) -> bool:
        """Whether the outcome is stored. What was heard directly may come again from the stream, behind what its sender
        said later: then its natural key alone would not tell it from something new."""
        natural = taken.command is not None and taken.command.verb in self.core.naturally_idempotent
        return not natural or taken.received.seq == 0 or self._reader.is_direct

    def _note_silence(self, now: datetime) -> None:
        silence_s, self._silence_s = max(self._silence_s, self._pulse.gap_s()), 0.0
        if silence_s > SILENCE_S_MIN:
            log.info("could not listen, deadlines move", service=self.name, seconds=round(silence_s, 1))
            metrics.SILENCE_SECONDS.labels(self.name).inc(silence_s)
            self.core.extend(silence_s, now)

    def _position_after(self, turn: Turn) -> Position:
        now = self._position
        last = next((taken.received for taken in reversed(turn.taken) if taken.received.seq), None)
        return Position(
            stream_created=last.stream_created if last else now.stream_created,
            command_seq=last.seq if last else now.command_seq,
            command_ns=last.ns if last else now.command_ns,
            event_seq=turn.event_seq + len(turn.stored),
            published_seq=self._outbox.published_seq,
            event_stream_created=self._outbox.event_stream_created,
        )

    async def _publish(self, turn: Turn) -> None:
        """Say what the commit made true. What gets lost here is repeated: replies and inbox messages because somebody
        asks again, events from their rows."""
        for subject, body in turn.replies:
            await self.bus.publish(subject, body)
        try:
            for message in await self._rows.messages(self.store.pool, turn.events, turn.records):
                await self.bus.publish(message.subject, message.body)
        except CONNECTION_ERRORS as error:
            log.warning("inbox messages not sent, they follow on the next beats", error=str(error))
        await self._outbox.publish(turn.stored)

    def _count(self, turn: Turn) -> None:
        turn.count(self.name)
        for reject in turn.audited:
            if reject.minute is None:  # a flood is told by the metrics
                log.warning("message rejected", subject=reject.subject, sender=reject.sender, reason=reject.reason)
