"""What is asked of a simulated hive, and the agents that do it."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hivewire import Agent, Permanent, codec
from hivewire.commands.broker import Approve, Block, Cancel, Reject, Retry, Submit, Unblock
from hivewire.commands.tick_engine import Create, Start, Tick
from hivewire.connection import Connection
from hivewire.context import Context
from hivewire.errors import HivewireError, RefusedError
from hivewire.simulation import AgentSpec, SimulationBrief
from hivewire.subjects import BROKER, TICK_ENGINE
from hivewire.views import TaskBrief
from simulation.processes import Process, _current, connect

if TYPE_CHECKING:
    from simulation.hive import Hive

HIVE = "hive"
CAPABILITIES = ("python", "review", "docs")


# agents ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Described:
    """An agent of the fleet."""

    agent_id: str
    slots: int
    can: tuple[str, ...]


def agents(chance: random.Random) -> list[Described]:
    """A fleet in which everything can be done by somebody."""
    fleet = [Described("a0", 2, CAPABILITIES)]
    for number in range(1, chance.randint(2, 4)):
        can = tuple(sorted(chance.sample(CAPABILITIES, chance.randint(1, 3))))
        fleet.append(Described(f"a{number}", chance.randint(1, 3), can))
    return fleet


async def work(process: Process, described: Described, seed: int) -> None:
    """Be an agent until somebody takes its place."""
    agent = Agent(
        described.agent_id, can=described.can, slots=described.slots, context=Context(nats_url="nats://simulated:4222")
    )

    @agent.task
    async def handle(task: Any, context: Any) -> Any:
        chance = random.Random(f"{seed} {task.id} {task.attempt}")
        await asyncio.sleep(chance.random() * 6)
        if chance.random() < 0.3:
            await context.progress(chance.random(), "on the way")
        if chance.random() < 0.2:
            await _ask(context, chance)
        fate = chance.random()
        if fate < 0.15:
            raise ValueError("not this time")
        if fate < 0.18:
            raise Permanent("never")
        return {"attempt": task.attempt}

    @agent.question
    async def answer(question: Any, context: Any) -> str:
        await asyncio.sleep(0.5)
        return f"an answer to {question.text}"

    await agent.start()
    await agent.wait()


async def _ask(context: Any, chance: random.Random) -> None:
    try:
        await context.ask(f"agent:a{chance.randrange(4)}", "what?", timeout_s=chance.choice((3, 20)))
    except HivewireError:
        await context.progress(0.5, "nobody knows")


# clients --------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Wish:
    """Commands about one task, and when they are sent."""

    submit: Submit
    at_s: float
    later: list[tuple[float, str, Any]] = field(default_factory=list)


def plan(chance: random.Random) -> list[Wish]:
    """Tasks that depend on one another, with what people do to some of them."""
    wishes: list[Wish] = []
    for number in range(chance.randint(8, 20)):
        known = [wish.submit.id for wish in wishes]
        submit = Submit(
            title=f"task {number}",
            id=f"t{number}",
            required_capabilities=list(chance.sample(CAPABILITIES, chance.randint(0, 2))),
            priority=chance.randint(0, 10),
            timeout_seconds=chance.choice((8.0, 60.0)),
            max_retries=chance.randint(0, 3),
            depends_on=[str(one) for one in chance.sample(known, min(len(known), chance.choice((0, 0, 1, 2))))],
            on_dependency_failure=chance.choice(("block", "cancel")),
            requires_approval=chance.random() < 0.15,
            payload=codec.raw({"number": number}),
        )
        wish = Wish(submit, chance.random() * 25)
        while chance.random() < 0.25:
            wish.later.append((chance.random() * 15, *_order(chance, submit.id or "")))
        wishes.append(wish)
    return wishes


def _order(chance: random.Random, task_id: str) -> tuple[str, Any]:
    return chance.choice(
        (
            ("cancel", Cancel(task_id)),
            ("block", Block(task_id)),
            ("unblock", Unblock(task_id)),
            ("retry", Retry(task_id)),
            ("approve", Approve(task_id)),
            ("reject", Reject(task_id, "do it better")),
        )
    )


async def send(process: Process, hive: "Hive", wishes: list[Wish]) -> None:
    """Send commands until they are answered, and note what was accepted."""
    process.alive = True
    _current.set(process)
    connection = await connect("operator", HIVE)
    async with asyncio.TaskGroup() as group:
        group.create_task(_rehearse(connection, process.name.replace(" ", "-")))
        for wish in wishes:
            group.create_task(_fulfil(connection, hive, wish))
    await connection.close()


async def _fulfil(connection: Connection, hive: "Hive", wish: Wish) -> None:
    await asyncio.sleep(wish.at_s)
    while not hive.oracle.accepted.keys() >= set(wish.submit.depends_on):
        await asyncio.sleep(0.2)
    brief = await connection.command(BROKER, "submit", wish.submit, TaskBrief, timeout_s=None)
    hive.oracle.accept(brief.task_id)
    for pause_s, verb, order in wish.later:
        await asyncio.sleep(pause_s)
        await _try(connection, verb, order)


async def _try(connection: Connection, verb: str, order: Any) -> None:
    try:
        await connection.command(BROKER, verb, order, TaskBrief, timeout_s=None)
    except RefusedError as refused:
        if refused.status not in (404, 409):
            raise


async def _rehearse(connection: Connection, name: str) -> None:
    """A simulation that ticks a few times, each tick once."""
    specs = [AgentSpec(id=one) for one in ("a", "b")]
    create = Create(simulation_id=name, agents=specs)
    await connection.command(TICK_ENGINE, "create", create, SimulationBrief, timeout_s=None)
    await connection.command(TICK_ENGINE, "start", Start(name), SimulationBrief, timeout_s=None)
    for tick in range(5):
        await asyncio.sleep(4)
        brief = await connection.command(
            TICK_ENGINE, "tick", Tick(name, expected_tick=tick), SimulationBrief, timeout_s=None
        )
        assert brief.tick == tick + 1, brief


async def close(hive: "Hive") -> None:
    """When nothing goes wrong any more: decide what waits for people, until all has ended."""
    process = hive.add("client last", send)  # type: ignore[arg-type]
    process.alive = True
    _current.set(process)
    connection = await connect("operator", HIVE)
    while unfinished := hive.oracle.unfinished():
        for task_id in unfinished:
            status = hive.database.rows_of("task")[task_id,]["status"]
            if status == "pending_approval":
                await _try(connection, "approve", Approve(task_id))
            elif status == "blocked":
                await _try(connection, "cancel", Cancel(task_id))
        await asyncio.sleep(5)
    await connection.close()
