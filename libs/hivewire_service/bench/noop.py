"""The agent that does nothing, run by `hivewire agent run hivewire_service.bench.noop:agent`."""

import os

from hivewire import Agent, Task, TaskContext

CAPABILITY = "no-op"
PAYLOAD = {"text": "x" * 280}
RESULT = {"ok": True}
ID_VARIABLE = "HIVEWIRE_BENCH_AGENT"
SLOTS_VARIABLE = "HIVEWIRE_BENCH_SLOTS"

agent = Agent(os.environ.get(ID_VARIABLE, "no-op"), can=[CAPABILITY], slots=int(os.environ.get(SLOTS_VARIABLE, "1")))


@agent.task
async def nothing(_: Task, __: TaskContext) -> dict[str, bool]:
    """Return at once."""
    return RESULT
