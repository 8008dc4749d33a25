"""Whom a target means. The choice is deterministic, and recorded with the question or message."""

from typing import NamedTuple

from hivewire_conversation.seen import Seen
from hivewire_service.core import Refusal


class Resolved(NamedTuple):
    """An agent, and why it is this one."""

    agent_id: str
    resolution: str


def resolve(seen: Seen, sender: str, target: str) -> Resolved | Refusal:
    """The agent that `target` (`agent:ID`, `task:ID` or `phase:ID`) means."""
    kind, _, name = target.partition(":")
    match kind:
        case "agent":
            found: Resolved | Refusal = Resolved(name, "named")
        case "task":
            found = _of_task(seen, name)
        case _:
            found = _of_phase(seen, sender, name)
    if isinstance(found, Resolved) and found.agent_id not in seen.agents:
        return Refusal(f"there is no agent {found.agent_id!r}: `hivewire agents` lists those that are", 404)
    return found


def _of_task(seen: Seen, task_id: str) -> Resolved | Refusal:
    if task_id not in seen.tasks:
        return Refusal(f"there is no task {task_id!r}", 404)
    last = seen.tasks[task_id]
    if last is None:
        return Refusal(f"task {task_id} was never given to an agent: ask again when it was", 409)
    what = "runs" if last.open else "was the last to run"
    return Resolved(last.agent_id, f"{what} attempt {last.attempt} of task {task_id}")


def _of_phase(seen: Seen, sender: str, phase_id: str) -> Resolved | Refusal:
    """Whoever has worked in the phase the longest, but for the sender itself."""
    for attempt in seen.phases.get(phase_id, ()):
        if attempt.agent_id != sender:
            running = f"attempt {attempt.attempt} of task {attempt.task_id}"
            return Resolved(attempt.agent_id, f"at work in phase {phase_id} for the longest, with {running}")
    return Refusal(f"no other agent is at work in phase {phase_id!r}: ask again when one is", 409)
