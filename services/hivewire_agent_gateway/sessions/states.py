"""The life of a session: which event may happen in which state, and what state follows.

An event without an entry in the table is refused and changes nothing. The diagram in the docs is drawn from the table.
"""

from collections.abc import Mapping
from typing import Final

from hivewire.views import SessionState

_REFUSED: Final = "session.response_refused"

TRANSITIONS: Final[Mapping[SessionState | None, Mapping[str, SessionState]]] = {
    None: {
        "session.created": "created",
    },
    "created": {
        "session.dispatched": "dispatched",
        "session.failed": "failed",
        "session.timed_out": "timed_out",
        "session.cancelled": "cancelled",
        _REFUSED: "created",
    },
    "dispatched": {
        "session.running": "running",
        "session.idle": "idle",
        "session.retry": "created",
        "session.failed": "failed",
        "session.timed_out": "timed_out",
        "session.cancelled": "cancelled",
        _REFUSED: "dispatched",
    },
    "running": {
        "session.progress": "running",
        "session.idle": "idle",
        "session.retry": "created",
        "session.failed": "failed",
        "session.timed_out": "timed_out",
        "session.cancelled": "cancelled",
        _REFUSED: "running",
    },
    "idle": {
        "session.completed": "completed",
        "session.action_failed": "idle",
        "session.failed": "failed",
        "session.response_taken": "idle",
        _REFUSED: "idle",
    },
    "completed": {
        "session.response_taken": "completed",
        "session.reported": "completed",
        _REFUSED: "completed",
    },
    "failed": {
        "session.response_taken": "failed",
        "session.reported": "failed",
        _REFUSED: "failed",
    },
    "timed_out": {
        "session.reported": "timed_out",
        _REFUSED: "timed_out",
    },
    "cancelled": {
        "session.reported": "cancelled",
        _REFUSED: "cancelled",
    },
}


class IllegalTransition(Exception):
    """The table has no entry for this event in this state; nothing changed."""


def allows(state: SessionState | None, event_type: str) -> bool:
    """Whether an event of this type may happen to a session in this state."""
    return event_type in TRANSITIONS[state]


def following(state: SessionState | None, event_type: str) -> SessionState:
    """The state after an event of this type.

    Raises:
        IllegalTransition: it cannot happen in this state.
    """
    try:
        return TRANSITIONS[state][event_type]
    except KeyError:
        raise IllegalTransition(f"{event_type} cannot happen to a session that is {state or 'unknown'}") from None
