"""What all events have in common."""

from typing import ClassVar

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact. `type` names it, `key` the field that holds the id of the entity it is about.

    `version` counts the changes of its fields that older readers would not understand.
    """

    type: ClassVar[str]
    key: ClassVar[str]
    version: ClassVar[int] = 1

    @property
    def entity(self) -> str:
        """What kind of thing the event is about: the part of `type` before the dot."""
        return self.type.partition(".")[0]

    @property
    def entity_id(self) -> str:
        entity_id: str = getattr(self, self.key)
        return entity_id
