"""Remote agents: what the agent gateway's sessions say of their dispatches. Pure; `sessions.py` speaks with the gateway."""

from typing import Any

import msgspec

from hivewire import fields, rehearsal
from hivewire.events.session import (
    SessionCancelled,
    SessionEvent,
    SessionFailed,
    SessionIdle,
    SessionTimedOut,
)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Observed: what a registered callable or a remote agent gave, or why it gave nothing.

    `timed_out`: because a clock outside of the simulation ran out.
    """

    simulation_id: str
    run: int
    dispatch_id: str
    content: msgspec.Raw = fields.NULL
    error: str | None = None
    timed_out: bool = False


class LiveSession(msgspec.Struct, frozen=True):
    """A session that has not ended, and how its simulation stood in Postgres at that moment."""

    session_id: str
    run: int
    tick: int
    over: bool = False
    """The simulation is completed."""


class SessionsSeen(msgspec.Struct, frozen=True):
    """Observed: all live sessions of simulations, and what the ended ones among those that are waited for gave."""

    live: list[LiveSession]
    ended: list[Answer]


class GiveUp(msgspec.Struct, frozen=True):
    """Follows from a step: nobody waits for the session."""

    session_id: str


def answer_in(event: SessionEvent) -> Answer | None:
    """What an event says of a simulation's dispatch; None: nothing."""
    match event:
        case SessionIdle(response=response):
            return answered(event.session_id, content=response.copy())
        case SessionFailed(error=error):
            return answered(event.session_id, error=error)
        case SessionTimedOut(error=error):
            return answered(event.session_id, error=error, timed_out=True)
        case SessionCancelled(by=by, reason=reason):
            return answered(event.session_id, error=f"{by} cancelled its session" + (f": {reason}" if reason else ""))
    return None


def answered(name: str, **said: Any) -> Answer | None:
    """How a session ended, if it is a simulation's."""
    place = rehearsal.dispatch_of(name)
    if place is None:
        return None
    simulation_id, run, dispatch_id = place
    return Answer(simulation_id=simulation_id, run=run, dispatch_id=dispatch_id, **said)
