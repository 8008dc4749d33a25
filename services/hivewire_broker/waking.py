"""Tasks that wait for an agent which was away to start: it was the best for them, and was told to.

A task waits until the agent registers, and is then given out like any other; if the agent cannot be woken, or does not
come in time, another is sought.
"""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from hivewire.events.task import TaskWakeEnded, TaskWaking
from hivewire_broker.draft import Draft
from hivewire_broker.fleet import Fleet
from hivewire_broker.matching import Choice
from hivewire_broker.state import State
from hivewire_broker.task import Task

WAKE_TIMEOUT_S: Final = 60.0
WAKE_PAUSE: Final = timedelta(seconds=60.0)
"""An agent that could not be woken is left alone for so long."""


class WakeAgent(msgspec.Struct, frozen=True):
    """Follows from a commit: have the gateway wake an agent."""

    agent_id: str
    reason: str


def wait_for(draft: Draft, task: Task, choice: Choice, until: datetime, *, told: bool) -> None:
    """Let a task wait for an agent that is asleep; it is woken, unless it was told to start before."""
    waking = TaskWaking(
        task_id=task.task_id, agent_id=choice.agent_id, until=until, score=choice.score, reason=choice.reason
    )
    draft.add(waking, "pending")
    if not told:
        draft.records.append(WakeAgent(choice.agent_id, f"for task {task.task_id}"))


def wake_again(draft: Draft, state: State, fleet: Fleet) -> None:
    """After a load: whoever is waited for may be here, or gone, or was never told to start."""
    for agent_id, tasks in state.awaited.items():
        agent = fleet.get(agent_id)
        if agent is None:
            gave_up(draft, state, agent_id, f"agent {agent_id} was removed")
        elif agent.presence == "present":
            came(draft, state, agent_id)
        else:
            draft.records.append(WakeAgent(agent_id, f"for task {next(iter(tasks))}"))


def came(draft: Draft, state: State, agent_id: str) -> None:
    """The agent is there: whatever waited for it may be given out."""
    for task_id in state.awaited.get(agent_id, ()):
        draft.add(TaskWakeEnded(task_id=task_id, agent_id=agent_id, awake=True), "pending")


def gave_up(draft: Draft, state: State, agent_id: str, reason: str) -> None:
    """The agent will not come: others are sought for whatever waited for it."""
    for task_id in state.awaited.get(agent_id, ()):
        draft.add(TaskWakeEnded(task_id=task_id, agent_id=agent_id, awake=False, reason=reason), "pending")


def ran_out(draft: Draft, fleet: Fleet, task: Task, now: datetime) -> None:
    """The agent did not come in time."""
    assert task.waits_for is not None
    reason = f"agent {task.waits_for} did not register in time"
    ended = TaskWakeEnded(task_id=task.task_id, agent_id=task.waits_for, awake=False, reason=reason)
    draft.add(ended, "pending")
    fleet.leave_asleep(task.waits_for, now + WAKE_PAUSE)
