"""What is asked of a simulated hive, and the agents that do it."""

import asyncio
import contextlib
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from hivewire import Agent, Permanent, codec
from hivewire.commands.broker import Approve, Block, Cancel, CreatePhase, OfPhase, Reject, Retry, Submit, Unblock
from hivewire.commands.sessions import Dispatch
from hivewire.commands.tick_engine import Create, Start, Tick
from hivewire.connection import Connection
from hivewire.context import Context
from hivewire.errors import HivewireError, RefusedError
from hivewire.simulation import AgentSpec, SimulationBrief
from hivewire.subjects import AGENT_GATEWAY, BROKER, TICK_ENGINE
from hivewire.views import PhaseBrief, SessionBrief, TaskBrief
from simulation.processes import URL, Process, _current
from simulation.remote import work_remotely

if TYPE_CHECKING:
    from simulation.hive import Hive

PHASES = ("p0", "p1")
CAPABILITIES = ("python", "review", "docs")


# agents ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Described:
    """An agent of the fleet."""

    agent_id: str
    slots: int
    can: tuple[str, ...]
    remote: bool = False


def agents(chance: random.Random) -> list[Described]:
    """A fleet in which everything can be done by somebody."""
    fleet = [Described("a0", 2, CAPABILITIES)]
    for number in range(1, chance.randint(2, 4)):
        can = tuple(sorted(chance.sample(CAPABILITIES, chance.randint(1, 3))))
        fleet.append(Described(f"a{number}", chance.randint(1, 3), can, remote=chance.random() < 0.4))
    return fleet


async def work(process: Process, described: Described, seed: int) -> None:
    """Be an agent until somebody takes its place."""
    if described.remote:
        await work_remotely(process, described.agent_id, described.slots, described.can, seed)
    agent = Agent(described.agent_id, can=described.can, slots=described.slots, context=Context(nats_url=URL))

    @agent.task
    async def handle(task: Any, context: Any) -> Any:
        chance = random.Random(f"{seed} {task.id} {task.attempt}")
        await asyncio.sleep(chance.random() * 5)
        if chance.random() < 0.3:
            await context.progress(chance.random(), "on the way")
        if chance.random() < 0.2:
            await _ask(context, chance)
        if chance.random() < 0.2:
            await _tell(context, chance)
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

    @agent.message
    async def hear(message: Any, context: Any) -> None:
        await asyncio.sleep(0.1)

    await agent.start()
    await agent.wait()


async def _ask(context: Any, chance: random.Random) -> None:
    try:
        await context.ask(f"agent:a{chance.randrange(4)}", "what?", timeout_s=chance.choice((3, 20)))
    except HivewireError:
        await context.progress(0.5, "nobody knows")


async def _tell(context: Any, chance: random.Random) -> None:
    with contextlib.suppress(HivewireError):  # there may be no such agent
        await context.message(f"agent:a{chance.randrange(4)}", "by the way")


# clients --------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Wish:
    """Commands about one task, and when they are sent."""

    submit: Submit
    at_s: float
    later: list[tuple[float, str, Any]] = field(default_factory=list)


def plan(chance: random.Random) -> list[Wish]:
    """Tasks that depend on one another, some in phases, with what people do to some of them."""
    wishes: list[Wish] = []
    phases = [None, None, *PHASES] if chance.random() < 0.4 else [None]
    latest: dict[str | None, int] = {}
    """Of each task, the number of the last phase that it and all it needs belong to; 0: none."""
    for number in range(chance.randint(6, 16)):
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
        before = max((latest[needed] for needed in submit.depends_on), default=0)
        phase = chance.choice(phases)
        own = PHASES.index(phase) + 1 if phase else 0
        if own >= before:  # else the phase would wait for itself
            submit.phase_id = phase
        latest[submit.id] = max(before, own)
        if chance.random() < 0.3:
            submit.concurrency_key, submit.max_concurrent = "one at a time", 1
        wish = Wish(submit, chance.random() * 15)
        while chance.random() < 0.25:
            wish.later.append((chance.random() * 8, *_order(chance, submit.id or "")))
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


async def nothing(_: Process) -> None:
    """The program of clients, who do what the hive tells them to."""


async def send(process: Process, hive: "Hive", wishes: list[Wish], *, rehearses: bool = True) -> None:
    """Send commands until they are answered, and note what was accepted."""
    process.alive = True
    _current.set(process)
    connection = await Connection.open(URL, name="operator")
    for number, phase in enumerate(PHASES if any(wish.submit.phase_id for wish in wishes) else ()):
        made = CreatePhase(title=phase, id=phase, depends_on=list(PHASES[:number]))
        await connection.command(BROKER, "create_phase", made, PhaseBrief, timeout_s=None)
        await _try(connection, "approve_phase", OfPhase(phase))
    async with asyncio.TaskGroup() as group:
        if rehearses:
            group.create_task(_rehearse(connection, process.name.replace(" ", "-")))
            for agent in hive.agents:
                if agent.remote:
                    group.create_task(_dispatch(connection, hive, agent.agent_id, process.name.replace(" ", "-")))
        group.create_task(_queue_phases(connection, wishes))
        for wish in wishes:
            group.create_task(_fulfil(connection, hive, wish))
    await connection.close()


async def _queue_phases(connection: Connection, wishes: list[Wish]) -> None:
    """Let the phases begin, once most of their tasks are there."""
    await asyncio.sleep(12)
    for phase in PHASES if any(wish.submit.phase_id for wish in wishes) else ():
        await _try(connection, "queue_phase", OfPhase(phase))


async def _fulfil(connection: Connection, hive: "Hive", wish: Wish) -> None:
    await asyncio.sleep(wish.at_s)
    while not hive.oracle.accepted.keys() >= set(wish.submit.depends_on):
        await asyncio.sleep(0.2)
    try:
        brief = await connection.command(BROKER, "submit", wish.submit, TaskBrief, timeout_s=None)
    except RefusedError as refused:
        if "is completed: put the task into another" not in str(refused):
            raise
        wish.submit.phase_id = None
        brief = await connection.command(BROKER, "submit", wish.submit, TaskBrief, timeout_s=None)
    hive.oracle.accept(brief.task_id)
    for pause_s, verb, order in wish.later:
        await asyncio.sleep(pause_s)
        await _try(connection, verb, order)


async def _dispatch(connection: Connection, hive: "Hive", agent_id: str, name: str) -> None:
    """A few sessions that serve no task."""
    for number in range(3):
        await asyncio.sleep(hive.chance.random() * 6)
        session_id = f"{agent_id}-{name}-{number}"
        dispatch = Dispatch(agent_id=agent_id, id=session_id, content=codec.raw("?"), timeout_seconds=20, max_retries=2)
        try:
            await connection.command(AGENT_GATEWAY, "dispatch", dispatch, SessionBrief, timeout_s=None)
        except RefusedError as refused:
            if refused.status != 404:  # the agent is not there yet
                raise
        else:
            hive.oracle.sessions[session_id] = None


async def _try(connection: Connection, verb: str, order: Any) -> None:
    try:
        await connection.command(BROKER, verb, order, msgspec.Raw, timeout_s=None)
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
        await asyncio.sleep(3)
        brief = await connection.command(
            TICK_ENGINE, "tick", Tick(name, expected_tick=tick), SimulationBrief, timeout_s=None
        )
        assert brief.tick == tick + 1, brief


def _is_held_up(hive: "Hive", task_id: str) -> bool:
    """Whether the task's phase does not go on by itself."""
    phase_id = hive.database.rows_of("task")[task_id,]["phase_id"]
    phases = hive.database.rows_of("phase")
    return phase_id is not None and any(phases[one,]["status"] in ("blocked", "completed") for one in PHASES)


async def close(hive: "Hive") -> None:
    """When nothing goes wrong any more: decide what waits for people, until all has ended."""
    process = hive.add("client last", nothing)
    process.alive = True
    _current.set(process)
    connection = await Connection.open(URL, name="operator")
    while unfinished := hive.oracle.unfinished():
        for task_id in unfinished:
            status = hive.database.rows_of("task")[task_id,]["status"]
            if status == "pending_approval":
                await _try(connection, "approve", Approve(task_id))
            elif status == "blocked" or (status == "pending" and _is_held_up(hive, task_id)):
                await _try(connection, "cancel", Cancel(task_id))
        for phase in PHASES:  # one that has no tasks is completed by people
            if _is_empty(hive, phase):
                await _try(connection, "complete_phase", OfPhase(phase))
        await asyncio.sleep(5)
    await connection.close()


def _is_empty(hive: "Hive", phase: str) -> bool:
    """Whether a phase runs without any task."""
    row = hive.database.rows_of("phase").get((phase,))
    tasks = hive.database.rows_of("task").values()
    return row is not None and row["status"] == "running" and all(task["phase_id"] != phase for task in tasks)
