"""Events of initiatives, written by the broker."""

from datetime import datetime
from typing import ClassVar

import msgspec

from hivewire import fields
from hivewire.events.base import Event


class InitiativeEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of initiatives."""

    key: ClassVar[str] = "initiative_id"

    initiative_id: str


class InitiativeCreated(InitiativeEvent, frozen=True, kw_only=True, omit_defaults=True):
    """There is an initiative. `content_hash` tells a repeat from another initiative with the same id."""

    type: ClassVar[str] = "initiative.created"

    title: str
    sender: str
    content_hash: str
    created_at: datetime
    description: str = ""
    requires_approval: bool = False
    metadata: msgspec.Raw = fields.EMPTY_OBJECT


class InitiativeCompleted(InitiativeEvent, frozen=True, kw_only=True, omit_defaults=True):
    """All phases of the initiative are completed, and somebody said that no more will come."""

    type: ClassVar[str] = "initiative.completed"

    by: str
    completed_at: datetime


EVENTS: tuple[type[Event], ...] = (InitiativeCreated, InitiativeCompleted)
