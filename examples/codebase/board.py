"""The live display: what happens in the hive, told by events alone."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hivewire.views import EventView

BAR_COLUMNS = 30


@dataclass(slots=True)
class Board:
    """How far the work is and who does what. What is worth a line scrolls by above it."""

    console: Console
    fleet_changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Somebody joined or was lost."""
    _stages: dict[str, frozenset[str]] = field(default_factory=dict)
    _titles: dict[str, str] = field(default_factory=dict)
    _agents: dict[str, set[str]] = field(default_factory=dict)
    """The tasks that each agent runs."""
    _completed: set[str] = field(default_factory=set)

    def expect(self, stage: str, task_ids: Iterable[str]) -> None:
        """These tasks are a part of the work."""
        self._stages[stage] = frozenset(task_ids)

    def note(self, text: str) -> None:
        """Say what is worth a line."""
        self.console.print(Text.assemble(("· ", "cyan"), text))

    def see(self, event: EventView) -> None:
        """Take an event in."""
        told = msgspec.json.decode(event.data)
        if event.type.startswith("agent."):
            self._see_agent(event, told)
            return
        if event.type in {"task.completed", "task.retry"}:
            self._agents.get(told["agent_id"], set()).discard(event.entity_id)
        match event.type:
            case "task.created":
                self._titles[event.entity_id] = told["title"]
            case "task.started":
                self._agents.setdefault(told["agent_id"], set()).add(event.entity_id)
            case "task.completed":
                self._completed.add(event.entity_id)
            case "task.retry":
                self._note_task(event, f"attempt {told['attempt']} {told['ended']}", told.get("error", ""))
            case "task.unmatched":
                self._note_task(event, "nobody takes it", told["reason"])
            case "task.cancelled":
                self._note_task(event, f"cancelled by {told['by']}", told.get("reason", ""))

    def _see_agent(self, event: EventView, told: dict[str, dict[str, list[str]]]) -> None:
        self.fleet_changed.set()
        match event.type:
            case "agent.spawned":
                self._agents[event.entity_id] = set()
                self.note(f"{event.entity_id} joins, and can {', '.join(told['card']['capabilities'])}")
            case "agent.crashed":
                self.note(f"{event.entity_id} is lost")

    def _note_task(self, event: EventView, what: str, reason: str) -> None:
        title = self._titles.get(event.entity_id, event.entity_id)
        first_line = reason.partition("\n")[0]
        self.note(f"{title}: {what}{first_line and f' ({first_line})'}")

    def __rich__(self) -> RenderableType:
        return Group(Text(), self._progress(), Text(), self._fleet())

    def _progress(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for stage, tasks in self._stages.items():
            done = len(tasks & self._completed)
            table.add_row(stage, ProgressBar(len(tasks), done, BAR_COLUMNS), f"{done}/{len(tasks)}")
        return table

    def _fleet(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for agent_id, task_ids in sorted(self._agents.items()):
            titles = sorted(self._titles.get(task_id, task_id) for task_id in task_ids)
            table.add_row(Text(agent_id, "bold"), Text(", ".join(titles), "dim"))
        return table
