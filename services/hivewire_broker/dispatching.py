"""Giving a task to an agent because somebody says so."""

from datetime import datetime

from hivewire.commands.broker import Dispatch, DispatchNext
from hivewire.events.task import TaskQueued
from hivewire_broker.assign import Assigner
from hivewire_broker.draft import Draft
from hivewire_broker.state import State
from hivewire_broker.task import Task
from hivewire_service.core import Command, Refusal, Step


def dispatch(state: State, assigner: Assigner, command: Command, now: datetime) -> Step | Refusal:
    """Give a pending task to an agent now, whatever its type, and due or not."""
    data: Dispatch = command.data
    task = state.tasks.get(data.task_id)
    if task is None:
        return Refusal(f"there is no task {data.task_id!r}", 404)
    refusal = _impossible(state, task)
    if refusal is not None:
        return refusal
    choice = assigner.choose(task, data.agent_id, now)
    if isinstance(choice, str):
        return Refusal(f"task {task.task_id} can't be dispatched: {choice}", 409)
    draft = Draft()
    if not task.queued:
        draft.events.append(TaskQueued(task_id=task.task_id, priority=task.priority, depends_on=list(task.depends_on)))
    assigner.give(draft, task, choice, now)
    return draft.step()


def dispatch_next(assigner: Assigner, command: Command, now: datetime) -> Step | Refusal:
    """Give out the first ready task for which there is an agent."""
    data: DispatchNext = command.data
    found = assigner.first(data.agent_id, now)
    if found is None:
        who = "a free agent" if data.agent_id is None else f"agent {data.agent_id}"
        return Refusal(f"no ready task can go to {who}: `hivewire queue` shows what waits", 409)
    draft = Draft()
    assigner.give(draft, *found, now)
    return draft.step()


def _impossible(state: State, task: Task) -> Refusal | None:
    if task.status != "pending":
        return Refusal(f"task {task.task_id} is {task.status}: only a pending one can be dispatched", 409)
    if task.unmet:
        return Refusal(f"task {task.task_id} waits for {task.unmet} of its dependencies", 409)
    if not state.keys.has_room(task):
        held = state.keys.held[task.concurrency_key or ""]
        return Refusal(f"{held} tasks of concurrency key {task.concurrency_key} are with agents already", 409)
    return None
