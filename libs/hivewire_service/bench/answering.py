"""A fleet that answers each question with the seconds after which it arrived.

Run as `python -m hivewire_service.bench.answering FIRST LAST`, the numbers of its agents, until it is stopped.
"""

import asyncio
import signal
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

from hivewire import Agent

READY = "all agents are there"


def name_of(number: int) -> str:
    """The id of one of the agents."""
    return f"answers-{number}"


async def run(numbers: range) -> None:
    """Be these agents until told to stop."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    async with AsyncExitStack() as stack:
        for number in numbers:
            await stack.enter_async_context(_agent(name_of(number)))
        print(READY, flush=True)  # noqa: T201  # whoever started us waits for it
        await told.wait()


def _agent(name: str) -> Agent:
    agent = Agent(name, grace_s=0)

    @agent.question
    async def answer(question: Any, _ctx: Any) -> dict[str, float]:
        return {"after_s": time.time() - question.value["asked"]}

    return agent


if __name__ == "__main__":
    asyncio.run(run(range(int(sys.argv[1]), int(sys.argv[2]) + 1)))
