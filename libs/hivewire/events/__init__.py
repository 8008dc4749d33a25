"""The typed catalogue of events: one module a category.

An event is a fact, named `<entity>.<event>`. On the bus it is the `data` of an envelope, in Postgres a row.
"""

from collections.abc import Mapping

from hivewire.events import agent, task
from hivewire.events.base import Event

__all__ = ["CATALOGUE", "Event"]

CATALOGUE: Mapping[str, type[Event]] = {event.type: event for module in (task, agent) for event in module.EVENTS}
"""type -> the struct that the event's `data` holds."""
