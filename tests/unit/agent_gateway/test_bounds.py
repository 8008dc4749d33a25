"""What the gateway keeps for agents and of them has bounds, also while the core or the broker does not answer."""

import asyncio
import gc
from typing import Any

import pytest

from hivewire import codec, limits
from hivewire.inbox import SessionDispatch
from hivewire_agent_gateway import aftermath
from hivewire_agent_gateway.aftermath import Aftermath
from hivewire_agent_gateway.control import WakeUp
from hivewire_agent_gateway.door import answers as door_answers
from hivewire_agent_gateway.door import frames
from hivewire_agent_gateway.door.answers import Answers
from hivewire_agent_gateway.door.bridge import Bridge, Closed
from hivewire_agent_gateway.door.bridge import _first as first_message
from hivewire_agent_gateway.sessions.records import Report
from hivewire_service.settings import Settings

NOTHING: Any = None


def bridge(answers: Answers) -> Bridge:
    return Bridge(NOTHING, NOTHING, answers, frames.Register("ann"), "instance")


def given(number: int) -> SessionDispatch:
    return SessionDispatch(
        message_id=f"m{number}",
        session_id=f"s{number}",
        attempt=1,
        agent_id="ann",
        instance="instance",
        content=codec.raw(1),
    )


async def test_a_bridge_holds_no_more_dispatches_than_a_beat_names(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "HELD_MAX", 3)
    one = bridge(Answers(NOTHING))
    for number in range(5):
        one._take(given(number))
    assert list(one._held) == ["m2", "m3", "m4"]
    await one.end()


async def test_what_an_agent_says_at_once_is_bounded_over_all_its_connections(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(door_answers, "SAID_AT_ONCE_MAX", 2)
    answers = Answers(NOTHING)
    first = bridge(answers)
    await first._said.acquire()
    await first._said.acquire()
    await first.end()
    second = bridge(answers)
    assert second._said.locked()
    first._said.release()
    assert not second._said.locked()
    await second.end()
    assert len(answers._turns) == 1
    del first, second
    gc.collect()
    assert len(answers._turns) == 0


async def test_a_bridge_that_is_replaced_while_the_core_is_away_does_not_wait_for_it():
    one = bridge(Answers(NOTHING))
    cancelled = asyncio.Event()

    async def register() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    waiting = asyncio.create_task(one._unless_over(register()))
    await asyncio.sleep(0)
    one.close(Closed(frames.REPLACED, "replaced"))
    with pytest.raises(Closed):
        await waiting
    async with asyncio.timeout(5):
        await cancelled.wait()
    await one.end()


async def test_a_bridge_that_does_not_register_is_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "REGISTER_S_MAX", 0.01)

    class Silent:
        async def receive(self) -> None:
            await asyncio.Event().wait()

    with pytest.raises(Closed, match="must be register") as closed:
        await first_message(Silent())  # type: ignore[arg-type]
    assert closed.value.code == frames.NOT_REGISTERED


async def test_progress_is_passed_over_while_the_broker_is_away_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(aftermath, "WAITING_MAX", 10)
    one = Aftermath(NOTHING, Settings())
    await one.committed([], [Report("s", "progress", number / 100) for number in range(100)])
    assert one._queue.qsize() == 10
    await one.committed([], [Report("s", "end"), WakeUp("ann")])
    assert one._queue.qsize() == 12
