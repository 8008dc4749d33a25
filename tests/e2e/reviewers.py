"""Agents as a user writes them; the tests start them with `hivewire agent run`."""

import os
import signal

from hivewire import Agent, Permanent

SKILL = os.environ.get("SKILL", "review")
agent = Agent(f"{SKILL}-sdk", can=[SKILL], slots=4)


@agent.task
async def add(task, context) -> dict:
    """Sums its payload and what it depends on."""
    await context.progress(0.5, "adding")
    results = [(await context.result_of(task_id))["sum"] for task_id in task.depends_on]
    return {"sum": sum(results) + task.payload}


@agent.task(needs=f"{SKILL}-strict")
def refuse(task, context) -> None:
    """Runs in a thread."""
    raise Permanent(f"{task.title} is out of the question")


killer = Agent(f"{SKILL}-victim", can=[f"{SKILL}-deadly"])


@killer.task
async def die(task, context) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
