"""The fleet's agents that use the SDK. Each runs in a process of its own: `hivewire agent run MODULE:NAME`."""

import asyncio
from pathlib import Path

import msgspec

from examples.codebase.findings import Findings, measure
from hivewire import Agent, Task, TaskContext, ThreadContext


def parser(agent_id: str) -> Agent:
    """An agent that reads ordinary files, one at a time."""
    agent = Agent(agent_id, can=["python"])

    @agent.task
    def parse(task: Task, _: ThreadContext) -> Findings:
        return measure(Path(task.payload["file"]))

    return agent


def strong_parser(agent_id: str) -> Agent:
    """An agent that reads large files too, and may get stuck in one."""
    agent = Agent(agent_id, can=["python"], slots=2)

    @agent.task
    async def parse(task: Task, _: TaskContext) -> Findings:
        return measure(Path(task.payload["file"]))

    @agent.task(needs=["python", "large-files"])
    async def parse_large(task: Task, context: TaskContext) -> Findings:
        if task.attempt == 1 and task.payload["hangs_at_first"]:
            await context.progress(0.5, "halfway through")
            await asyncio.Event().wait()
        return await parse(task, context)

    return agent


def adder(agent_id: str) -> Agent:
    """An agent that adds up what the tasks before its own have found."""
    agent = Agent(agent_id, can=["summary"], slots=4)

    @agent.task
    async def add_up(task: Task, context: TaskContext) -> Findings:
        results = await asyncio.gather(*map(context.result_of, task.depends_on))
        return sum((msgspec.convert(result, Findings) for result in results), Findings())

    return agent


parser_1, parser_2 = parser("parser-1"), parser("parser-2")
strong_1, strong_2 = strong_parser("strong-1"), strong_parser("strong-2")
librarian = adder("librarian")
