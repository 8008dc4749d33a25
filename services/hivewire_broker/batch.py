"""Taking many tasks in one command: each by itself, in any order, with dependencies among them."""

import heapq
from collections.abc import Callable
from datetime import datetime
from functools import partial

import msgspec

from hivewire import codec
from hivewire.commands.broker import Submit, SubmitBatch
from hivewire.ids import task_id_in_batch
from hivewire.views import BatchItem
from hivewire_broker.cycles import cycle_through
from hivewire_broker.state import State
from hivewire_broker.submit import Intake
from hivewire_service.core import Command, Refusal, Step


class Entry(msgspec.Struct):
    """A task of the batch that could be decoded and named."""

    index: int
    task_id: str
    submit: Submit


class Batch:
    """One batch on its way: entries, the dependencies among them, and the verdict on each."""

    def __init__(self, state: State, hive: str, command: Command, now: datetime) -> None:
        data: SubmitBatch = command.data
        self._intake = Intake(state, hive, command, now)
        self.items = [BatchItem(index) for index in range(len(data.tasks))]
        self._aliases: dict[str, str] = {}
        self._by_id: dict[str, list[Entry]] = {}
        for index, raw in enumerate(data.tasks):
            self._read(index, raw, partial(task_id_in_batch, command.id, index))

    def decide(self) -> Step:
        """Take what can be taken, dependencies first and else in the order of the batch."""
        needs = {task_id: self._needs_within(entries) for task_id, entries in self._by_id.items()}
        needed_by: dict[str, list[str]] = {task_id: [] for task_id in needs}
        for task_id, needed in needs.items():
            for other in needed:
                needed_by[other].append(task_id)
        missing = {task_id: len(needed) for task_id, needed in needs.items()}
        ready = [(self._by_id[task_id][0].index, task_id) for task_id, count in missing.items() if not count]
        heapq.heapify(ready)
        while ready:
            _, task_id = heapq.heappop(ready)
            del missing[task_id]
            self._take(task_id, needs[task_id])
            for dependent in needed_by[task_id]:
                missing[dependent] -= 1
                if not missing[dependent]:
                    heapq.heappush(ready, (self._by_id[dependent][0].index, dependent))
        self._refuse_cycles({task_id: needs[task_id] for task_id in missing})
        return self._intake.draft.step()

    def _read(self, index: int, raw: msgspec.Raw, unnamed: Callable[[], str]) -> None:
        submit = codec.decode_as(raw, Submit, "task")
        if isinstance(submit, codec.Malformed):
            self._refuse(index, Refusal(submit.reason, 400))
            return
        task_id = self._intake.task_id(submit, unnamed)
        if isinstance(task_id, Refusal):
            self._refuse(index, task_id)
            return
        self._by_id.setdefault(task_id, []).append(Entry(index, task_id, submit))
        if submit.idempotency_key is not None:
            self._aliases[submit.idempotency_key] = task_id
        self._aliases[task_id] = task_id

    def _needs_within(self, entries: list[Entry]) -> set[str]:
        """The other tasks of the batch that these entries, all for the same task, depend on."""
        references = {reference for entry in entries for reference in entry.submit.depends_on}
        return {self._aliases[reference] for reference in references & self._aliases.keys()} - {entries[0].task_id}

    def _take(self, task_id: str, needs: set[str]) -> None:
        refused = sorted(other for other in needs if self._intake.status(other) is None)
        for entry in self._by_id[task_id]:
            if refused:
                self._refuse(entry.index, Refusal(f"it depends on task {refused[0]!r}, which was refused"))
                continue
            answer = self._intake.accept(task_id, entry.submit, self._aliases)
            if isinstance(answer, Refusal):
                self._refuse(entry.index, answer)
            else:
                item = self.items[entry.index]
                item.task_id, item.created = task_id, answer

    def _refuse(self, index: int, refusal: Refusal) -> None:
        self.items[index].error, self.items[index].error_status = refusal.error, refusal.status

    def _refuse_cycles(self, left: dict[str, set[str]]) -> None:
        """Refuse what could not be ordered: cycles, and what depends on them."""

        def needs_of(task_id: str) -> list[str]:
            return sorted(left[task_id] & left.keys())

        for task_id in left:
            cycle = cycle_through(task_id, needs_of(task_id), needs_of)
            error = f"dependency cycle: {cycle}" if cycle else "it depends on tasks that form a cycle"
            for entry in self._by_id[task_id]:
                self._refuse(entry.index, Refusal(error))
