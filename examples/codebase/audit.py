"""Whether the hive kept its word: everything done, nothing done twice, and the report right."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import msgspec

from examples.codebase.count_lines import count
from examples.codebase.findings import Findings, measure
from hivewire import Client
from hivewire.history import stored
from hivewire.reads import ListEvents
from hivewire.views import EventView

PAGE = 1_000


async def history(hive: Client) -> list[EventView]:
    """All that ever happened in the hive."""
    return [event async for event in stored(hive.connection, ListEvents(limit=PAGE))]


def direct(files: Sequence[Path]) -> Findings:
    """What the report has to say, computed here and now."""
    return sum((measure(file) + msgspec.convert(count(file), Findings) for file in files), Findings())


def differences(report: Findings, expected: Findings) -> list[str]:
    """The figures in which a report is wrong."""
    pairs = ((field.name, getattr(report, field.name), getattr(expected, field.name)) for field in fields(Findings))
    return [f"the report says {name} = {said}, and it is {is_}" for name, said, is_ in pairs if said != is_]


def not_once(tasks: Mapping[str, str], events: Sequence[EventView]) -> list[str]:
    """The tasks, given as id -> title, that did not complete exactly once."""
    completed = Counter(event.entity_id for event in events if event.type == "task.completed")
    return [
        f"{title}: completed {completed[task_id]} times" for task_id, title in tasks.items() if completed[task_id] != 1
    ]


def repeated(task_id: str, ended: str, events: Sequence[EventView]) -> int:
    """How many attempts of a task ended in that way and were followed by another."""
    retries = [event for event in events if event.type == "task.retry" and event.entity_id == task_id]
    return sum(msgspec.json.decode(event.data)["ended"] == ended for event in retries)
