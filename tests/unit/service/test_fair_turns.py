"""Turns at what only so many may do at a time."""

import asyncio

import pytest

from hivewire_service.fair_turns import FairTurns


class Crowd:
    """Those who ask for turns; each keeps its turn until it is told to leave."""

    def __init__(self, at_a_time: int) -> None:
        self.turns = FairTurns(at_a_time)
        self.order: list[str] = []
        self.leave = asyncio.Queue[None]()

    def ask(self, who: str) -> asyncio.Task[None]:
        return asyncio.create_task(self._take(who))

    async def _take(self, who: str) -> None:
        async with self.turns.turn(who):
            self.order.append(who)
            await self.leave.get()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_asks_for_much_keeps_nobody_waiting() -> None:
    crowd = Crowd(2)
    tasks = [crowd.ask("eve") for _ in range(6)]
    await settled()
    tasks += [crowd.ask("ann"), crowd.ask("bob"), crowd.ask("ann")]
    await settled()
    assert crowd.order == ["eve", "eve"]
    assert crowd.turns.waiting("eve") == 4
    for _ in tasks:
        crowd.leave.put_nowait(None)
    await asyncio.gather(*tasks)
    assert crowd.order == ["eve", "eve", "eve", "ann", "bob", "eve", "ann", "eve", "eve"]


async def test_who_gives_up_waiting_costs_nobody_a_turn() -> None:
    crowd = Crowd(1)
    first, second, third = crowd.ask("eve"), crowd.ask("ann"), crowd.ask("bob")
    await settled()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    crowd.leave.put_nowait(None)
    await settled()
    assert crowd.order == ["eve", "bob"]
    third.cancel()
    await asyncio.gather(first, third, return_exceptions=True)
    last = crowd.ask("carl")
    await settled()
    assert crowd.order == ["eve", "bob", "carl"]
    crowd.leave.put_nowait(None)
    await last
