"""The tables at the end."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from examples.codebase.findings import Findings, Peak
from hivewire.explanations import Explanation
from hivewire.views import EventView

ENDS = {"task.completed": "completed", "task.retry": "", "task.dead_lettered": "dead-lettered", "task.failed": "failed"}
"""Events that end an attempt, by how; empty: the event says it."""


def report(findings: Findings) -> Table:
    """What the agents found."""
    table = _table("The report", "", "found")
    for name in Findings.__dataclass_fields__:
        value = getattr(findings, name)
        shown = f"{value.function} ({value.amount})" if isinstance(value, Peak) else f"{value:,}"
        table.add_row(name.replace("_", " "), shown)
    return table


def by_status(counts: Mapping[str, int]) -> Table:
    """Tasks by how they stand."""
    return _counted("Tasks by status", "status", counts)


def by_event(events: Iterable[EventView]) -> Table:
    """The history by type of event."""
    return _counted("History", "event", Counter(event.type for event in events))


def by_agent(events: Iterable[EventView]) -> Table:
    """What became of each agent's attempts."""
    attempts: dict[str, Counter[str]] = defaultdict(Counter)
    for event in events:
        if event.type in ENDS:
            told = msgspec.json.decode(event.data)
            attempts[told["agent_id"]][ENDS[event.type] or told["ended"]] += 1
    ways = sorted({way for counts in attempts.values() for way in counts})
    table = _table("Attempts by agent", "agent", *ways)
    for agent_id, counts in sorted(attempts.items()):
        table.add_row(agent_id, *(str(counts[way] or "") for way in ways))
    return table


def choice(title: str, explanation: Explanation) -> Group:
    """Why a task went to its agent: what each factor added to each candidate's score."""
    scored = [candidate for candidate in explanation.candidates if candidate.score is not None]
    table = _table("", "factor", *(candidate.agent_id for candidate in scored))
    for name in sorted({name for candidate in scored for name in candidate.factors}):
        table.add_row(name, *(f"{candidate.factors[name].contribution:.3f}" for candidate in scored))
    table.add_row("score", *(f"{candidate.score:.3f}" for candidate in scored), style="bold")
    stopped = [f"{number} stopped by {gate}" for gate, number in explanation.gated.items()]
    why = "; ".join([explanation.reason, *stopped])
    return Group(Text(f"Why {explanation.agent_id}? ({title})", "italic"), table, Text(why, "dim"))


def _counted(title: str, what: str, counts: Mapping[str, int]) -> Table:
    table = _table(title, what, "count")
    for name, number in sorted(counts.items()):
        if number:
            table.add_row(name, f"{number:,}")
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
    return table
