"""One turn of the loop on its way from commands to replies."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from hivewire.events import Event
from hivewire_service import metrics
from hivewire_service.core import Kept
from hivewire_service.intake import Taken
from hivewire_service.retention import Decide
from hivewire_service.store import Outcome, Reject, StoredEvent


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
        """Let the service's metrics show the turn; a series is looked up once a turn, since that is dear."""
        if self.taken:
            metrics.BATCH_SIZE.labels(service).observe(len(self.taken))
        for verb_and_outcome, count in self.decided.items():
            metrics.COMMANDS.labels(service, *verb_and_outcome).inc(count)
        for kind, count in Counter(event.type for event in self.events).items():
            metrics.EVENTS.labels(service, kind).inc(count)
        metrics.REJECTS.labels(service).inc(len(self.rejects))
        over_quota = sum(reject.kind is Kept.QUOTA for reject in self.rejects)
        if over_quota:
            metrics.OVER_QUOTA.labels(service, "command").inc(over_quota)
