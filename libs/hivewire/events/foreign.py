"""What events that come from outside have in common: their publisher, whom nats-server proved, and the publisher's id."""

from typing import ClassVar

import msgspec

from hivewire import fields
from hivewire.events.base import Event


class ForeignEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An event of another service or of an agent. `publisher` and `event_id` are filled in when it is recorded."""

    publisher: str = ""
    event_id: str = ""


class UnknownEvent(ForeignEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An event of a type that the catalogue does not have, kept whole in `data`. `unknown` marks it with its type."""

    key: ClassVar[str] = "entity"

    unknown: str
    entity: str
    data: msgspec.Raw = fields.EMPTY_OBJECT

    @property
    def type(self) -> str:  # type: ignore[override]
        """Its type, which no class has."""
        return self.unknown
