"""Phases and initiatives as they are kept in memory: all of them, since they are few and tasks name them at any time."""

from datetime import datetime

import msgspec

from hivewire.views import InitiativeStatus, PhaseStatus


class Initiative(msgspec.Struct, kw_only=True):
    """One initiative."""

    initiative_id: str
    ordinal: int
    content_hash: str
    requires_approval: bool = False
    status: InitiativeStatus = "active"
    ended_at: datetime | None = None

    # Derived: never stored.
    phases: dict[str, None] = {}


class Phase(msgspec.Struct, kw_only=True):
    """One phase. `approved` and `queued` say how far it is while it is pending."""

    phase_id: str
    ordinal: int
    content_hash: str
    initiative_id: str | None = None
    depends_on: tuple[str, ...] = ()
    status: PhaseStatus = "pending"
    approved: bool = False
    queued: bool = False
    reason: str | None = None
    blocked_by: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    # Derived: never stored.
    open: dict[str, None] = {}
    """Its tasks that have not ended."""
    bad: dict[str, None] = {}
    """Its tasks that ended without success."""
    completed: int = 0
    """How many of its tasks are completed."""
