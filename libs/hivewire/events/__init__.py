"""The typed catalogue of events: one module a category.

An event is a fact, named `<entity>.<event>`. On the bus it is the `data` of an envelope, in Postgres a row.
"""

from collections.abc import Mapping

from hivewire.events import (
    account,
    agent,
    conversation,
    initiative,
    kept,
    log,
    merge,
    page,
    phase,
    preview,
    process,
    replay,
    server,
    session,
    simulation,
    task,
    worktree,
)
from hivewire.events.base import Event
from hivewire.events.foreign import ForeignEvent

__all__ = ["CATALOGUE", "FOREIGN", "OWN_ENTITIES", "Event", "ForeignEvent"]

# Live messages have types of the same names as simulated ones, and go before them.
_MODULES = (
    *(simulation, task, phase, initiative, replay, agent, session, conversation, kept),
    *(merge, page, process, server, worktree, account, preview, log),
)

CATALOGUE: Mapping[str, type[Event]] = {
    event.type: event for module in _MODULES for event in (*module.EVENTS, *getattr(module, "OF_OTHERS", ()))
}
"""type -> the struct that the event's `data` holds."""

FOREIGN: Mapping[str, type[ForeignEvent]] = {
    name: event for name, event in CATALOGUE.items() if issubclass(event, ForeignEvent)
}
"""The types that come from outside."""

OWN_ENTITIES: frozenset[str] = frozenset(
    name.partition(".")[0] for name, event in CATALOGUE.items() if not issubclass(event, ForeignEvent)
)
"""Of these, services alone tell, but for the types in `FOREIGN`."""
