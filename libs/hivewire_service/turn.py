"""One turn of the loop on its way from commands to replies."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from hivewire import codec, tracing
from hivewire.commands import command_type
from hivewire.events import Event
from hivewire.events.kept import Snapshot
from hivewire.subjects import Subjects
from hivewire_service import metrics
from hivewire_service.core import Command, Core, Kept, Refusal, Step
from hivewire_service.intake import Taken, encode_reply, rejects_of, reply_envelope
from hivewire_service.metrics import series
from hivewire_service.retention import Decide
from hivewire_service.store import Outcome, Reject, StoredEvent
from hivewire_service.topology import NANOSECONDS


class BatchFailed(Exception):
    """Deciding or storing a batch failed for a reason that lies in the batch."""

    def __init__(self, batch: list[Taken], cause: Exception) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.batch = batch
        self.cause = cause


class Chore(NamedTuple):
    """What is decided in a turn of its own, and who waits for its commit."""

    decide: Decide
    done: "asyncio.Future[bool]"


@dataclass(slots=True)
class Turn:
    """What one turn of the loop makes true, and what is said of it afterwards."""

    now: datetime
    event_seq: int
    """Of the last event before it."""
    taken: list[Taken]
    chore: Chore | None = None
    events: list[Event] = field(default_factory=list)
    stored: list[StoredEvent] = field(default_factory=list)
    records: list[Any] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    replies: list[tuple[str, bytes]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    audited: list[Reject] = field(default_factory=list)
    """What is stored of the rejects."""
    decided: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Commands by verb and outcome."""

    def count(self, service: str) -> None:
        """Let the service's metrics show the turn."""
        if self.taken:
            series(metrics.BATCH_SIZE, service).observe(len(self.taken))
        for verb_and_outcome, count in self.decided.items():
            series(metrics.COMMANDS, service, *verb_and_outcome).inc(count)
        for kind, count in Counter(event.type for event in self.events).items():
            series(metrics.EVENTS, service, kind).inc(count)
        series(metrics.REJECTS, service).inc(len(self.rejects))
        over_quota = sum(reject.kind is Kept.QUOTA for reject in self.rejects)
        if over_quota:
            series(metrics.OVER_QUOTA, service, "command").inc(over_quota)

    def trace(self, service: str) -> None:
        """A span for each command, from when it was taken up until it was committed."""
        since_ns = int(self.now.timestamp() * NANOSECONDS)
        for command in (taken.command for taken in self.taken if taken.command):
            batch: dict[str, str | int] = {
                "messaging_message_id": command.id,
                "messaging_batch_message_count": len(self.taken),
            }
            tracing.record(command_type(service, command.verb), command.traceparent, since_ns, **batch)


class Deciding:
    """Lets a core decide what a turn took, and writes into the turn what follows from it."""

    def __init__(self, core: Core, subjects: Subjects, service: str) -> None:
        self._core = core
        self._subjects = subjects
        self._service = service

    def command(self, turn: Turn, taken: Taken, known: dict[tuple[str, str], Outcome], *, kept: bool) -> None:
        """Decide a command, or answer with the outcome that is known of it because it is a repeat. `kept`: its outcome is
        stored, for its own repeats."""
        command = taken.command
        if taken.reject is not None:
            turn.rejects.append(taken.reject)
        if command is None:
            self._reply(turn, taken, taken.refusal)
            return
        repeated = known.get((command.id, command.sender))
        if repeated is not None:
            if taken.reply_to:
                data = msgspec.Raw(repeated.reply)
                body = encode_reply(self._subjects, self._service, command.id, repeated.reply_type, data)
                turn.replies.append((taken.reply_to, body))
            return
        answer = self._core.decide(command, turn.now)
        if isinstance(answer, Step):
            self.follow(turn, answer, command)
        outcome = answer if isinstance(answer, Refusal) else self._core.reply(command)
        turn.rejects += rejects_of(taken, answer, outcome)
        kind, data = self._reply(turn, taken, outcome)
        if kept:
            stored = Outcome(command.id, command.sender, kind, bytes(data))
            turn.outcomes.append(stored)
            known[command.id, command.sender] = stored
        turn.decided[command.verb, "refused" if isinstance(outcome, Refusal) else "ok"] += 1

    def follow(self, turn: Turn, step: Step, command: Command | None = None) -> None:
        """Let the facts of a step become the state, and number them for the history."""
        seq = turn.event_seq + len(turn.stored)
        for event in step.events:
            if not isinstance(event, Snapshot):  # the state is what a snapshot says
                self._core.evolve(event)
                turn.events.append(event)
            seq += 1
            turn.stored.append(
                StoredEvent(
                    seq=seq,
                    type=event.type,
                    entity_id=event.entity_id,
                    data=codec.encode(event),
                    recorded_at=turn.now,
                    causation_id=command.id if command else None,
                    correlation_id=command.correlationid if command else None,
                    traceparent=command.traceparent if command else None,
                )
            )
        turn.records += step.records

    def _reply(self, turn: Turn, taken: Taken, outcome: object) -> tuple[str, msgspec.Raw]:
        kind, data, body = reply_envelope(self._subjects, self._service, taken.command_id, outcome)
        if taken.reply_to:
            turn.replies.append((taken.reply_to, body))
        return kind, data
