"""The life of a simulation: which event may happen in which status, and what status follows.

An event without an entry is refused and changes nothing. The diagram in the docs is drawn from the table.
"""

from collections.abc import Mapping
from typing import Final

from hivewire.simulation import Status

TRANSITIONS: Final[Mapping[Status | None, Mapping[str, Status]]] = {
    None: {"simulation.created": "created"},
    "created": {"simulation.configured": "configured"},
    "configured": {
        "simulation.configured": "configured",
        "simulation.started": "running",
        "simulation.paused": "paused",
        "simulation.reset": "created",
    },
    "running": {
        "tick.advanced": "running",
        "simulation.paused": "paused",
        "simulation.completed": "completed",
        "simulation.reset": "created",
    },
    "paused": {
        "simulation.edited": "paused",
        "simulation.started": "running",
        "simulation.reset": "created",
    },
    "completed": {"simulation.reset": "created"},
}

OF_THE_TABLE: Final = frozenset(event for row in TRANSITIONS.values() for event in row)
"""Events that the table rules; all others leave the status as it is."""


class IllegalTransition(Exception):
    """The table has no entry for this event in this status; nothing changed."""


def allows(status: Status | None, event_type: str) -> bool:
    """Whether an event of this type may happen in this status."""
    return event_type in TRANSITIONS[status]


def following(status: Status | None, event_type: str) -> Status:
    """The status after an event of this type.

    Raises:
        IllegalTransition: it cannot happen in this status.
    """
    try:
        return TRANSITIONS[status][event_type]
    except KeyError:
        raise IllegalTransition(f"{event_type} cannot happen to a simulation that is {status or 'not there'}") from None
