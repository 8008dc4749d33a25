"""The life of an agent in the registry: which event may happen in which state, and what state follows.

An event without an entry in the table is refused and changes nothing. The diagram in the docs is drawn from the table.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Presence(StrEnum):
    """Whether an agent can be given work."""

    PRESENT = "present"
    """Its instance registered and is heard."""
    LOST = "lost"
    """Its instance was not heard of for too long."""
    AWAY = "away"
    """Its instance left on purpose."""
    REMOVED = "removed"
    """Not in the registry: it never registered, or was removed."""


TRANSITIONS: Final[Mapping[Presence, Mapping[str, Presence]]] = {
    Presence.REMOVED: {
        "agent.spawned": Presence.PRESENT,
    },
    Presence.PRESENT: {
        "agent.spawned": Presence.PRESENT,
        "agent.updated": Presence.PRESENT,
        "agent.resumed": Presence.PRESENT,
        "agent.disconnected": Presence.PRESENT,
        "agent.drained": Presence.PRESENT,
        "agent.undrained": Presence.PRESENT,
        "agent.stopped": Presence.AWAY,
        "agent.crashed": Presence.LOST,
        "agent.deleted": Presence.REMOVED,
    },
    Presence.LOST: {
        "agent.spawned": Presence.PRESENT,
        "agent.updated": Presence.LOST,
        "agent.resumed": Presence.PRESENT,
        "agent.disconnected": Presence.LOST,
        "agent.drained": Presence.LOST,
        "agent.undrained": Presence.LOST,
        "agent.waking": Presence.LOST,
        "agent.wake_failed": Presence.LOST,
        "agent.stopped": Presence.AWAY,
        "agent.deleted": Presence.REMOVED,
    },
    Presence.AWAY: {
        "agent.spawned": Presence.PRESENT,
        "agent.updated": Presence.AWAY,
        "agent.resumed": Presence.PRESENT,
        "agent.disconnected": Presence.AWAY,
        "agent.drained": Presence.AWAY,
        "agent.undrained": Presence.AWAY,
        "agent.waking": Presence.AWAY,
        "agent.wake_failed": Presence.AWAY,
        "agent.deleted": Presence.REMOVED,
    },
}


class IllegalTransition(Exception):
    """The table has no entry for this event in this state; nothing changed."""


def allows(presence: Presence, event_type: str) -> bool:
    """Whether an event of this type may happen to an agent in this state."""
    return event_type in TRANSITIONS[presence]


def following(presence: Presence, event_type: str) -> Presence:
    """The state after an event of this type.

    Raises:
        IllegalTransition: it cannot happen in this state.
    """
    try:
        return TRANSITIONS[presence][event_type]
    except KeyError:
        raise IllegalTransition(f"{event_type} cannot happen to an agent that is {presence}") from None
