"""Writes the catalogue of events of the documentation from the structs. `generate.py` runs it."""

import inspect
import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import msgspec

from hivewire.asyncapi import summary
from hivewire.events import CATALOGUE, FOREIGN, SIMULATED, Event

FILLED_IN = frozenset({"publisher", "event_id"})
PAGE = Path(__file__).with_name("events.md")
INTRODUCTION = """\
# Events

Written by `make docs` from the structs in `hivewire.events`; `hivewire asyncapi` prints the same as an AsyncAPI 3 document.

An event is published once its service has committed it, on `<hive>.evt.<type>.<id>`, in a CloudEvents envelope whose
`data` holds the fields below. The id is the first field of each table, percent-encoded where it could not stand in a
subject. Fields with a default are left out where they have it.

Those marked *from outside* come from other services and agents, by the command `publish`: they have the fields
`publisher`, whom nats-server proved, and `event_id`, which the publisher chose and by which a repeat is recognised. Those
marked *in a simulation* are the tick engine's, as the envelope's `source` tells; live messages have the same types. An
event of a type that is not listed here is kept whole: `unknown` holds its type, `data` what was published.
"""


def page() -> str:
    """The whole page."""
    events = sorted((*CATALOGUE.values(), *SIMULATED.values()), key=lambda event: event.type.partition(".")[0])
    groups = groupby(events, key=lambda event: event.type.partition(".")[0])
    return INTRODUCTION + "".join(_section(entity, group) for entity, group in groups)


def _section(entity: str, events: Iterable[type[Event]]) -> str:
    return f"\n## {entity}\n" + "".join(_event(event) for event in events)


def _event(event: type[Event]) -> str:
    mark = ", from outside" if event.type in FOREIGN else ", in a simulation" if event in SIMULATED.values() else ""
    changed = f", version {event.version}" if event.version > 1 else ""
    rows = "".join(f"| `{name}` | {kind} | {default} |\n" for name, kind, default in _fields(event))
    return f"\n### {event.type}{mark}{changed}\n\n{summary(event)}\n\n| field | type | default |\n|---|---|---|\n{rows}"


def _fields(event: type[Event]) -> Iterable[tuple[str, str, str]]:
    fields = [field for field in msgspec.structs.fields(event) if field.name not in FILLED_IN]
    for field in sorted(fields, key=lambda field: field.name != event.key):
        yield field.name, f"`{_type(field.type)}`".replace("|", "\\|"), _default(field)


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return f"`{field.default_factory()!r}`"
    if field.default is msgspec.NODEFAULT:
        return ""
    return f"`{bytes(field.default).decode() if isinstance(field.default, msgspec.Raw) else repr(field.default)}`"


def _type(annotation: object) -> str:
    text = inspect.formatannotation(annotation).replace("msgspec.Raw", "JSON")
    return re.sub(r"(\w+\.)+(?=\w)", "", text)
