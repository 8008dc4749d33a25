"""Draws the state machines of the docs from their tables."""

from collections import defaultdict
from collections.abc import Mapping
from typing import TypeVar

from hivewire_broker.states import ATTEMPT, TASK

Status = TypeVar("Status", bound=str)


def markdown() -> str:
    """The state machines of tasks and attempts as two sections with a Mermaid diagram each."""
    return f"## Tasks\n\n{_mermaid(TASK)}\n\n## Attempts\n\n{_mermaid(ATTEMPT)}\n"


def _mermaid(table: Mapping[Status | None, Mapping[str, Status]]) -> str:
    labels: dict[tuple[str, str], list[str]] = defaultdict(list)
    for status, transitions in table.items():
        for event, following in transitions.items():
            labels[status or "[*]", following].append(event.removeprefix("task."))
    arrows = [f"    {start} --> {end}: {', '.join(events)}" for (start, end), events in labels.items()]
    ends = [f"    {status} --> [*]" for status, transitions in table.items() if not transitions]
    return "\n".join(["```mermaid", "stateDiagram-v2", *arrows, *ends, "```"])
