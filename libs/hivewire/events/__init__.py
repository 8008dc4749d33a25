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
from hivewire.subjects import TICK_ENGINE

__all__ = ["CATALOGUE", "FOREIGN", "OWN_ENTITIES", "SIMULATED", "Event", "ForeignEvent", "of_writer"]

# Live messages have types of the same names as simulated ones, and go before them.
_MODULES = (
    *(simulation, task, phase, initiative, replay, agent, session, conversation, kept),
    *(merge, page, process, server, worktree, account, preview, log),
)

CATALOGUE: Mapping[str, type[Event]] = {
    event.type: event for module in _MODULES for event in (*module.EVENTS, *getattr(module, "OF_OTHERS", ()))
}
"""type -> the struct that the event's `data` holds."""

SIMULATED: Mapping[str, type[Event]] = {
    name: event for name, event in simulation.CATALOGUE.items() if CATALOGUE[name] is not event
}
"""Events of messages in a simulation, which have the types of live ones and tell of their tick. The envelope's source
says which of the two an event is."""

FOREIGN: Mapping[str, type[ForeignEvent]] = {
    name: event for name, event in CATALOGUE.items() if issubclass(event, ForeignEvent)
}
"""The types that come from outside."""

OWN_ENTITIES: frozenset[str] = frozenset(
    name.partition(".")[0] for name, event in CATALOGUE.items() if not issubclass(event, ForeignEvent)
)
"""Of these, services alone tell, but for the types in `FOREIGN`."""


def of_writer(writer: str) -> Mapping[str, type[Event]]:
    """Type -> the struct that it stands for among the events of one service."""
    return {**CATALOGUE, **SIMULATED} if writer == TICK_ENGINE else CATALOGUE
