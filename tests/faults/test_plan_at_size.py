"""A plan of fifty phases and five thousand tasks runs through, over the real bus and database."""

import random

from hivewire.commands.broker import CreateInitiative, CreatePhase
from hivewire.reads import ListEvents
from integration.gateway_process import broker, gateway
from integration.test_broker import agent, client, fold, until

PHASES, TASKS_OF_PHASE = 50, 100


async def test_fifty_phases_of_a_hundred_tasks_run_through(hive):
    choice = random.Random(1)
    needs = {number: choice.sample(range(number), min(number, choice.randrange(3))) for number in range(PHASES)}
    async with gateway(hive), broker(hive), client(hive) as boss:
        await boss.create_initiative(CreateInitiative(title="all", id="all"))
        for number, needed in needs.items():
            depends_on = [f"p{other}" for other in needed]
            phase = CreatePhase(title="a phase", id=f"p{number}", initiative_id="all", depends_on=depends_on)
            await boss.create_phase(phase)
            tasks = [{"title": "a task", "phase_id": f"p{number}"} for _ in range(TASKS_OF_PHASE)]
            assert not any(isinstance(item, Exception) for item in await boss.submit_many(tasks))
        await boss.steer_initiative("approve", "all")
        await boss.steer_initiative("queue", "all")
        workers = [agent(hive, f"worker-{number}", slots=250) for number in range(2)]
        for worker in workers:
            worker.task(work)
            await worker.start()

        async def is_over() -> bool:
            return all(phase.status == "completed" for phase in (await boss.initiative("all")).phases)

        await until(is_over)
        for worker in workers:
            await worker.stop()
        assert (await boss.stats()).tasks == {"completed": PHASES * TASKS_OF_PHASE}
        started, completed = [await order(boss, f"phase.{what}") for what in ("started", "completed")]
        for number, needed in needs.items():
            assert all(completed[f"p{other}"] < started[f"p{number}"] for other in needed)
    assert await fold(hive) == []


async def work(_task, _context) -> None:
    """Nothing to do."""


async def order(boss, event_type: str) -> dict[str, int]:
    """By phase, the number of its event."""
    found = await boss.events(ListEvents(type=event_type, limit=1000))
    return {event.entity_id: event.seq for event in found.items}
