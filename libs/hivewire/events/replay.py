"""Events of replays of dead letters, written by the broker."""

from datetime import datetime
from typing import ClassVar

from hivewire.events.base import Event


class ReplayEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of replays."""

    key: ClassVar[str] = "replay_id"

    replay_id: str


class ReplayStarted(ReplayEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The dead letters that ended until now and fit the filters are opened again, no more than `rate` a second."""

    type: ClassVar[str] = "replay.started"

    by: str
    started_at: datetime
    rate: float
    owner: str | None = None
    phase: str | None = None
    error: str | None = None
    reason: str = ""


class ReplayProgressed(ReplayEvent, frozen=True, kw_only=True, omit_defaults=True):
    """All dead letters up to the task with the ordinal `place` were tried; `replayed` and `refused` count them so far."""

    type: ClassVar[str] = "replay.progressed"

    place: int
    replayed: int
    refused: int


class ReplayCompleted(ReplayEvent, frozen=True, kw_only=True, omit_defaults=True):
    """No dead letter is left for the replay."""

    type: ClassVar[str] = "replay.completed"

    completed_at: datetime


class ReplayStopped(ReplayEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody stopped the replay. What it opened stays open."""

    type: ClassVar[str] = "replay.stopped"

    by: str
    stopped_at: datetime


EVENTS: tuple[type[Event], ...] = (ReplayStarted, ReplayProgressed, ReplayCompleted, ReplayStopped)
