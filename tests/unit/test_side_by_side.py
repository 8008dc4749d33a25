import asyncio

import pytest

from hivewire_service import side_by_side
from hivewire_service.side_by_side import until_first_ends


class Beside:
    """A coroutine that ends only when it is cancelled often enough."""

    def __init__(self, deaf_to: int = 0) -> None:
        self.cancelled = 0
        self._deaf_to = deaf_to

    async def run(self) -> None:
        while self.cancelled <= self._deaf_to:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
        raise asyncio.CancelledError


async def work(ends: asyncio.Event) -> None:
    await ends.wait()


async def fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("the first")


async def test_when_one_returns_the_others_are_ended():
    ends, other = asyncio.Event(), Beside()
    running = asyncio.create_task(until_first_ends(work(ends), other.run()))
    asyncio.get_running_loop().call_soon(ends.set)
    await running
    assert other.cancelled == 1


async def test_when_one_fails_the_others_are_ended_and_its_error_raised():
    other = Beside()
    with pytest.raises(ValueError, match="the first"):
        await until_first_ends(other.run(), fail())
    assert other.cancelled == 1


async def test_a_lost_cancellation_is_repeated(monkeypatch):
    monkeypatch.setattr(side_by_side, "CANCEL_AGAIN_S", 0.01)
    other = Beside(deaf_to=3)
    with pytest.raises(ValueError, match="the first"):
        await until_first_ends(other.run(), fail())
    assert other.cancelled == 4


async def test_cancelled_from_outside_all_are_ended():
    one, other = Beside(), Beside()
    running = asyncio.create_task(until_first_ends(one.run(), other.run()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (one.cancelled, other.cancelled) == (1, 1)
