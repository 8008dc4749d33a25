"""From question to delivery, at a steady rate, with a fleet that answers. The asker and the fleet are processes of their own.

A question has its moment, fixed in advance, and counts from there until the agent's handler has it.
"""

import asyncio
import time
from contextlib import AsyncExitStack

import asyncpg
import msgspec

from hivewire.client import Client
from hivewire_service.bench import answering
from hivewire_service.bench.check import folded
from hivewire_service.bench.figures import Distribution
from hivewire_service.bench.hive import BenchHive
from hivewire_service.bench.size import Size

RATE = 200
"""Questions a second."""
AGENTS = 200
AGENTS_QUICK = 20
PROCESSES = 2
SECONDS = 30
SECONDS_QUICK = 5
WARM_UP_S = 2
ASKER = "asks"
SERVICES = ("hivewire_conversation", "hivewire_agent_gateway")


class Questions(msgspec.Struct, frozen=True):
    """The figures of a run."""

    questions: int
    questions_per_s: int
    agents: int
    delivered: Distribution
    """Until the handler of the agent that was asked has it."""
    answered: Distribution
    """Until the asker has the answer."""
    problems: list[str]


async def run(size: Size) -> Questions:
    """Measure.

    Raises:
        HivewireError: the hive did not start, or a question had no answer.
    """
    quick = size.quick
    agents = size.agents or (AGENTS_QUICK if quick else AGENTS)
    warm_up, count = RATE * WARM_UP_S, RATE * (WARM_UP_S + (SECONDS_QUICK if quick else SECONDS))
    async with BenchHive.running() as hive, AsyncExitStack() as fleet, hive.agent(ASKER) as client:
        share = agents // PROCESSES
        for first in range(0, agents, share):
            last = first + share - 1
            helper = hive.helper(answering.__name__, str(first), str(last), mark=answering.READY)
            await fleet.enter_async_context(helper)
        took = (await _ask_steadily(client, agents, count))[warm_up:]
        async with hive.postgres() as connection:
            problems = await _problems(connection, count)
    return Questions(
        questions=len(took),
        questions_per_s=RATE,
        agents=agents,
        delivered=Distribution.of([delivered for delivered, _ in took]),
        answered=Distribution.of([answered for _, answered in took]),
        problems=problems,
    )


async def _ask_steadily(client: Client, agents: int, count: int) -> list[tuple[float, float]]:
    """Ask one agent after the other; seconds to delivery and to the answer."""
    begin = time.time()
    asking = []
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            due = begin + number / RATE
            await asyncio.sleep(due - time.time())
            asking.append(group.create_task(_ask(client, answering.name_of(number % agents), due)))
    return [task.result() for task in asking]


async def _ask(client: Client, agent_id: str, due: float) -> tuple[float, float]:
    answer = await client.ask(f"agent:{agent_id}", {"asked": due})
    return answer.value["after_s"], time.time() - due


async def _problems(connection: asyncpg.Connection, count: int) -> list[str]:
    """What is wrong with the rows and the history, if each question was to be answered once."""
    rows = await connection.fetch("SELECT state, count(*) AS questions FROM conversation GROUP BY state")
    states = {row["state"]: row["questions"] for row in rows}
    ends = await connection.fetchval("SELECT count(*) FROM event WHERE type = 'conversation.answered'")
    found = [] if states == {"answered": count} else [f"{count} questions were asked, in the rows are {states}"]
    found += [] if ends == count else [f"{ends} answers are in history, should be {count}"]
    return found + await folded(connection, SERVICES)
