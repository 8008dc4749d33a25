"""The simulation finds what it is there to find: each of these builds lacks one thing that the promises rest on."""

from collections.abc import Sequence
from itertools import count
from typing import Any
from unittest.mock import patch

from hivewire_service.core import Write
from hivewire_service.outbox import Outbox
from hivewire_service.service import Service
from hivewire_service.store import Store, StoredEvent, Unit
from simulation.hive import Failed, run
from simulation.paused_owner import PausedOwner
from simulation.postgres.database import Database

SEEDS = range(40)

WRITES_BEGIN = 550
"""The step from which on an owner has something to commit in seed 0."""


def found() -> str:
    """What the first seed that finds something says."""
    for seed in SEEDS:
        try:
            run(seed)
        except Failed as failed:
            return str(failed)
    return "nothing"


def found_by_pauses() -> str:
    """The same for an owner that is paused beyond its lease, at one step after the other."""
    for PausedOwner.paused_at in count(WRITES_BEGIN):
        try:
            outcome = run(0, PausedOwner)
        except Failed as failed:
            return str(failed)
        if PausedOwner.paused_at >= outcome.steps:
            return "nothing"
    return ""


def test_an_intact_build_passes_the_same_seeds_first() -> None:
    run(SEEDS[0])


def test_a_build_without_the_fence_is_caught() -> None:
    with patch.object(Database, "hold_lease", lambda *_: None):
        text = found_by_pauses()
    assert "follows event" in text or "says its last event is" in text


class Hasty:
    """A store that publishes what it is about to commit."""

    def __init__(self, store: Store, service: Service) -> None:
        self._store = store
        self._service = service
        self._events: Sequence[StoredEvent] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def statement(self, epoch: int, unit: Unit) -> Write:
        self._events = unit.events
        return self._store.statement(epoch, unit)

    async def execute(self, epoch: int, statement: Write) -> None:
        await self._service._outbox.publish(self._events)
        await self._store.execute(epoch, statement)


class PublishesFirst(Service):
    """A service that publishes before it commits."""

    def __init__(self, *arguments: Any, store: Store, **options: Any) -> None:
        super().__init__(*arguments, store=Hasty(store, self), **options)  # type: ignore[arg-type]


def test_a_build_that_publishes_before_it_commits_is_caught() -> None:
    with patch("simulation.processes.Service", PublishesFirst):
        assert "is published and was not committed" in found()


def test_a_build_without_the_watermark_is_caught() -> None:
    committed = property(lambda outbox: outbox._committed)
    with patch.object(Outbox, "published_seq", committed):
        assert "are on the bus, and they never were" in found()
