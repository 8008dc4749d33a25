"""Events of phases, written by the broker."""

from datetime import datetime
from typing import ClassVar

import msgspec

from hivewire import fields
from hivewire.events.base import Event


class PhaseEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of phases."""

    key: ClassVar[str] = "phase_id"

    phase_id: str


class PhaseCreated(PhaseEvent, frozen=True, kw_only=True, omit_defaults=True):
    """There is a phase. `content_hash` tells a repeat from another phase with the same id."""

    type: ClassVar[str] = "phase.created"

    title: str
    sender: str
    content_hash: str
    created_at: datetime
    initiative_id: str | None = None
    description: str = ""
    depends_on: list[str] = []
    metadata: msgspec.Raw = fields.EMPTY_OBJECT


class PhaseUpdated(PhaseEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The phase depends on other phases now."""

    type: ClassVar[str] = "phase.updated"

    by: str
    depends_on: list[str]


class PhaseApproved(PhaseEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The phase may be queued."""

    type: ClassVar[str] = "phase.approved"

    by: str
    reason: str = ""


class PhaseQueued(PhaseEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The phase starts by itself once the phases that it depends on are completed."""

    type: ClassVar[str] = "phase.queued"

    initiative_id: str | None = None
    depends_on: list[str] = []


class PhaseStarted(PhaseEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The phase's tasks, but those of planning, are queued one after the other."""

    type: ClassVar[str] = "phase.started"

    initiative_id: str | None = None
    started_at: datetime


class PhaseCompleted(PhaseEvent, frozen=True, kw_only=True, omit_defaults=True):
    """All tasks of the phase are completed, or somebody said that it is done (`by`)."""

    type: ClassVar[str] = "phase.completed"

    initiative_id: str | None = None
    completed_at: datetime
    by: str | None = None


class PhaseBlocked(PhaseEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The phase waits for a person, or for its task `blocked_by` that ended without success."""

    type: ClassVar[str] = "phase.blocked"

    reason: str
    blocked_by: str | None = None


class PhaseUnblocked(PhaseEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The phase, which had not started when it was blocked, waits for its turn again."""

    type: ClassVar[str] = "phase.unblocked"

    reason: str = ""


class PhaseResumed(PhaseEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The phase, which had started before it was blocked, goes on."""

    type: ClassVar[str] = "phase.resumed"

    reason: str = ""


EVENTS: tuple[type[Event], ...] = (
    PhaseCreated,
    PhaseUpdated,
    PhaseApproved,
    PhaseQueued,
    PhaseStarted,
    PhaseCompleted,
    PhaseBlocked,
    PhaseUnblocked,
    PhaseResumed,
)
