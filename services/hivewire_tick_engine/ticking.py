"""One tick: a generator of events, each of which evolves before the next is decided.

    take up answers -> expire dispatches -> deliver what is due -> let agents answer or be asked -> done

A tick is whole or not there: all its events are in one commit.
"""

from collections.abc import Container, Iterator
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final

from hivewire.events.simulation import (
    DispatchResponded,
    DispatchSent,
    DispatchTimedOut,
    MessageDelivered,
    SimulationCompleted,
    SimulationEvent,
    TickAdvanced,
)
from hivewire.simulation import DISPATCH_TIMEOUT_S, AgentSpec, Registered
from hivewire_tick_engine.behaviours import answer
from hivewire_tick_engine.sending import Post, error_to, send
from hivewire_tick_engine.state import TOO_MUCH, Dispatch, Simulation
from hivewire_tick_engine.waiting import Waiting

NOBODY: Final[frozenset[str]] = frozenset()


def tick(simulation: Simulation, overdue: Container[str] = NOBODY) -> Iterator[SimulationEvent]:
    """The events of the next tick. `overdue`: dispatches whose seconds have run out."""
    number = simulation.tick + 1
    before = (simulation.totals.events, simulation.totals.delivered, simulation.totals.sent, simulation.totals.blocked)
    yield from _take_up(simulation, number)
    yield from _expire(simulation, overdue, number)
    for message in simulation.waiting.due(number, simulation.config.messages_per_tick):
        yield from _deliver(simulation, message, number)
    totals = simulation.totals
    yield TickAdvanced(
        simulation_id=simulation.simulation_id,
        tick=number,
        events=totals.events - before[0],
        delivered=totals.delivered - before[1],
        sent=totals.sent - before[2],
        blocked=totals.blocked - before[3],
        waiting=len(simulation.waiting),
        state_hash=simulation.state_hash,
    )
    if simulation.budget_left == 0:
        yield SimulationCompleted(simulation_id=simulation.simulation_id, tick=number)


def overdue(simulation: Simulation, now: datetime) -> frozenset[str]:
    """Dispatches whose seconds have run out."""
    if simulation.config.dispatch_timeout_ticks is not None or not simulation.dispatches:
        return NOBODY
    patience = timedelta(seconds=simulation.config.dispatch_timeout_s or DISPATCH_TIMEOUT_S)
    # They stand in the order in which they were sent, so what is not overdue has only others like it behind it.
    late = takewhile(
        lambda dispatch: dispatch.since is not None and now - dispatch.since >= patience,
        simulation.dispatches.values(),
    )
    return frozenset(dispatch.dispatch_id for dispatch in late)


def _take_up(simulation: Simulation, number: int) -> Iterator[SimulationEvent]:
    for dispatch_id in list(simulation.buffered):
        dispatch = simulation.dispatches[dispatch_id]
        yield DispatchResponded(**_said(simulation, dispatch, number), content=dispatch.answer, error=dispatch.error)
        if dispatch.error is not None:
            text = f"{dispatch.agent_id} failed: {dispatch.error}"
            yield from error_to(simulation, dispatch.asked_by, dispatch.message_id, text, number, number)
            continue
        reply = Post(
            sender=dispatch.agent_id,
            target=dispatch.asked_by,
            content=dispatch.answer,
            tick=number,
            due=number,
            kind="reply",
            in_reply_to=dispatch.message_id,
        )
        yield from send(simulation, reply)


def _expire(simulation: Simulation, overdue: Container[str], number: int) -> Iterator[SimulationEvent]:
    open_ones = ((d, _expired(simulation, d, overdue, number)) for d in simulation.dispatches.values())
    for dispatch, reason in list(takewhile(lambda one: one[1] is not None, open_ones)):
        assert reason is not None
        yield DispatchTimedOut(**_said(simulation, dispatch, number), reason=reason)
        text = f"{dispatch.agent_id} did not answer: {reason}"
        yield from error_to(simulation, dispatch.asked_by, dispatch.message_id, text, number, number)


def _expired(simulation: Simulation, dispatch: Dispatch, overdue: Container[str], number: int) -> str | None:
    ticks = simulation.config.dispatch_timeout_ticks
    if ticks is not None:
        return f"no response within {ticks} ticks" if number - dispatch.sent_tick >= ticks else None
    if dispatch.dispatch_id in overdue:
        return f"no response within {simulation.config.dispatch_timeout_s or DISPATCH_TIMEOUT_S:g} s"
    return None


def _deliver(simulation: Simulation, message: Waiting, number: int) -> Iterator[SimulationEvent]:
    root = simulation.parts.get(message.in_reply_to) if message.in_reply_to else None
    yield MessageDelivered(
        simulation_id=simulation.simulation_id,
        tick=number,
        message_id=message.message_id,
        sender=message.sender,
        target=message.target,
    )
    agent = simulation.agents.get(message.target)
    if agent is None:
        return
    if agent.agent_type == "remote" or isinstance(agent.behaviour, Registered):
        if message.kind == "message":
            yield from _ask(simulation, agent, message, number)
        return
    yield from answer(simulation, agent, message, number, root)


def _ask(simulation: Simulation, agent: AgentSpec, message: Waiting, number: int) -> Iterator[SimulationEvent]:
    if simulation.is_crowded:
        text = f"{agent.id} was not asked: {TOO_MUCH}"
        yield from error_to(simulation, message.sender, message.message_id, text, number, number + 1)
        return
    registered = agent.behaviour if agent.agent_type == "simulation" else None
    yield DispatchSent(
        simulation_id=simulation.simulation_id,
        tick=number,
        dispatch_id=simulation.next_dispatch_id,
        agent_id=agent.id,
        message_id=message.message_id,
        asked_by=message.sender,
        content=message.content,
        callable=registered.name if isinstance(registered, Registered) else None,
    )


def _said(simulation: Simulation, dispatch: Dispatch, number: int) -> dict[str, Any]:
    return {
        "simulation_id": simulation.simulation_id,
        "tick": number,
        "dispatch_id": dispatch.dispatch_id,
        "agent_id": dispatch.agent_id,
        "message_id": dispatch.message_id,
    }
