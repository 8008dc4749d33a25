"""Deciding about events from outside: who says it is proven, what is said is checked, and it is recorded once."""

import re
from datetime import datetime

import msgspec

from hivewire import codec
from hivewire.commands.agent_gateway import Publish
from hivewire.events import FOREIGN, OWN_ENTITIES, ForeignEvent
from hivewire.events.foreign import UnknownEvent
from hivewire_service.core import NOTHING, Command, Kept, Refusal, Step

_TYPE = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")

Key = tuple[str, str]
"""A publisher and its id of an event."""


class Recorded:
    """Events from outside that are in history: those that the commands of a turn repeat, and those of the turn itself."""

    def __init__(self) -> None:
        self._keys: set[Key] = set()

    def begin(self, known: set[Key]) -> None:
        """A turn begins; of what it is to publish this is in history already."""
        self._keys = known

    def add(self, event: ForeignEvent) -> None:
        """It is recorded now."""
        self._keys.add((event.publisher, event.event_id))

    def __contains__(self, key: Key) -> bool:
        return key in self._keys


def key_of(command: Command) -> Key:
    """By what an event from outside is recognised."""
    data: Publish = command.data
    return command.sender, data.id or command.id


def publish(recorded: Recorded, command: Command, _now: datetime) -> Step | Refusal:
    """Take an event from outside. One that cannot be taken is kept whole among the rejects."""
    if key_of(command) in recorded:
        return NOTHING
    event = _event(command)
    return event if isinstance(event, Refusal) else Step([event])


def _event(command: Command) -> ForeignEvent | Refusal:
    data: Publish = command.data
    publisher, event_id = key_of(command)
    known = FOREIGN.get(data.type)
    if known is not None:
        event = codec.decode_as(data.data, known, data.type)
        if isinstance(event, codec.Malformed):
            return Refusal(event.reason, 400, kept=Kept.MESSAGE)
        return msgspec.structs.replace(event, publisher=publisher, event_id=event_id)
    if not _TYPE.fullmatch(data.type):
        return Refusal(
            f"type {data.type[:80]!r} is not of the form entity.event, such as merge.completed", 400, kept=Kept.MESSAGE
        )
    if data.type.partition(".")[0] in OWN_ENTITIES:
        return Refusal(
            f"{data.type} is told by the hive's services alone: take a type of your own", 403, kept=Kept.MESSAGE
        )
    body = codec.decode_as(data.data, dict[str, msgspec.Raw], data.type)
    if isinstance(body, codec.Malformed):
        return Refusal(f"{body.reason}: the data of an event is an object", 400, kept=Kept.MESSAGE)
    return UnknownEvent(
        unknown=data.type,
        entity=data.entity_id or publisher,
        data=data.data,
        publisher=publisher,
        event_id=event_id,
    )
