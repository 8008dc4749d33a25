"""What the broker does when agents come, go and beat."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from hivewire import limits
from hivewire.events import agent as events
from hivewire.events.task import TaskReassigned
from hivewire.inbox import Beat
from hivewire_broker import waking
from hivewire_broker.draft import Draft
from hivewire_broker.fleet import AgentSeen, Fleet, Presence
from hivewire_broker.retry import after_attempt
from hivewire_broker.state import State
from hivewire_broker.task import Pause


class FleetSeen(msgspec.Struct):
    """All agents as they stand in the gateway's rows."""

    agents: list[AgentSeen]


class WaitsSeen(msgspec.Struct):
    """The attempts that wait for answers or did so before, as they stand in the conversation service's rows."""

    waits: list[events.AgentWaiting]


RESEND_AFTER: Final = timedelta(seconds=2 * limits.BEAT_INTERVAL_S)
"""A dispatch that no beat lists for so long did not arrive."""


def observe(draft: Draft, state: State, fleet: Fleet, seen: Any, now: datetime) -> None:
    """Take in an agent's event or its beat. Anything else says nothing to the broker."""
    handler = _HANDLERS.get(type(seen))
    if handler is not None:
        handler(draft, state, fleet, seen, now)


def lose_absent(draft: Draft, state: State, fleet: Fleet, agent_id: str, reason: str, now: datetime) -> None:
    """Take back every attempt of an agent that is not with the instance that speaks for it now."""
    instance = fleet.present_instance(agent_id)
    for task in tuple(state.held.get(agent_id, {}).values()):
        attempt = task.attempts[-1]
        if attempt.instance == instance:
            continue
        draft.events.append(
            TaskReassigned(task_id=task.task_id, attempt=attempt.number, agent_id=agent_id, reason=reason, ended_at=now)
        )
        after_attempt(draft, task, "lost", reason, now)


def _fleet_seen(draft: Draft, state: State, fleet: Fleet, seen: FleetSeen, now: datetime) -> None:
    """Make good for events that did not arrive."""
    for agent_id in {agent.agent_id for agent in fleet} - {agent.agent_id for agent in seen.agents}:
        fleet.remove(agent_id)
    for agent in seen.agents:
        known = fleet.get(agent.agent_id)
        agent.degraded = known is not None and known.degraded and known.instance == agent.instance
        agent.left_asleep = known is not None and known.left_asleep
        if known != agent:
            fleet.put(agent)
    for agent_id in state.held:
        lose_absent(draft, state, fleet, agent_id, f"agent {agent_id} is gone", now)
    for agent_id in state.awaited:
        if fleet.present_instance(agent_id) is not None:
            waking.came(draft, state, agent_id)
        elif fleet.get(agent_id) is None:
            waking.gave_up(draft, state, agent_id, f"agent {agent_id} was removed")


def _spawned(draft: Draft, state: State, fleet: Fleet, event: events.AgentSpawned, now: datetime) -> None:
    known = fleet.get(event.agent_id)
    fleet.put(_seen(event.agent_id, event.instance, event.card, drained=known is not None and known.drained))
    lose_absent(draft, state, fleet, event.agent_id, f"a new instance of agent {event.agent_id} started", now)
    _resend_all(draft, state, fleet, event.agent_id, now)
    waking.came(draft, state, event.agent_id)


def _updated(_draft: Draft, _state: State, fleet: Fleet, event: events.AgentUpdated, _now: datetime) -> None:
    known = fleet.get(event.agent_id)
    if known is not None:
        seen = _seen(event.agent_id, event.instance, event.card, drained=known.drained)
        seen.presence = known.presence
        fleet.put(seen)


def _resumed(draft: Draft, state: State, fleet: Fleet, event: events.AgentResumed, now: datetime) -> None:
    agent = fleet.get(event.agent_id)
    if agent is not None:
        agent.instance = event.instance
        agent.presence = "present"
        agent.left_asleep = False
        fleet.put(agent)
        lose_absent(draft, state, fleet, event.agent_id, f"another instance of agent {event.agent_id} resumed", now)
        _resend_all(draft, state, fleet, event.agent_id, now)
        waking.came(draft, state, event.agent_id)


def _stopped(draft: Draft, state: State, fleet: Fleet, event: events.AgentStopped, now: datetime) -> None:
    _gone(draft, state, fleet, event, "away", f"agent {event.agent_id} left", now)


def _crashed(draft: Draft, state: State, fleet: Fleet, event: events.AgentCrashed, now: datetime) -> None:
    _gone(draft, state, fleet, event, "lost", f"agent {event.agent_id} is lost: {event.reason}", now)


def _gone(
    draft: Draft,
    state: State,
    fleet: Fleet,
    event: events.AgentStopped | events.AgentCrashed,
    presence: Presence,
    reason: str,
    now: datetime,
) -> None:
    agent = fleet.get(event.agent_id)
    if agent is not None and agent.instance == event.instance:
        agent.presence = presence
        fleet.put(agent)
        lose_absent(draft, state, fleet, event.agent_id, reason, now)


def _drained(_draft: Draft, _state: State, fleet: Fleet, event: events.AgentDrained, _now: datetime) -> None:
    _set_drained(fleet, event.agent_id, drained=True)


def _undrained(_draft: Draft, _state: State, fleet: Fleet, event: events.AgentUndrained, _now: datetime) -> None:
    _set_drained(fleet, event.agent_id, drained=False)


def _set_drained(fleet: Fleet, agent_id: str, *, drained: bool) -> None:
    agent = fleet.get(agent_id)
    if agent is not None:
        agent.drained = drained
        fleet.put(agent)


def _deleted(draft: Draft, state: State, fleet: Fleet, event: events.AgentDeleted, now: datetime) -> None:
    fleet.remove(event.agent_id)
    lose_absent(draft, state, fleet, event.agent_id, f"agent {event.agent_id} was removed", now)
    waking.gave_up(draft, state, event.agent_id, f"agent {event.agent_id} was removed")


def _wake_failed(draft: Draft, state: State, fleet: Fleet, event: events.AgentWakeFailed, now: datetime) -> None:
    waking.gave_up(draft, state, event.agent_id, f"agent {event.agent_id} could not be woken: {event.reason}")
    fleet.leave_asleep(event.agent_id, now + waking.WAKE_PAUSE)


def _beat(draft: Draft, state: State, fleet: Fleet, beat: Beat, now: datetime) -> None:
    """Compare what the agent says it holds with what it was given."""
    fleet.heard(beat.agent_id, beat.instance, beat.loop_count, degraded=beat.degraded)
    listed = {(held.task_id, held.attempt) for held in beat.held}
    given = state.held.get(beat.agent_id, {})
    for task in given.values():
        attempt = task.attempts[-1]
        if attempt.instance != beat.instance:
            continue
        if (task.task_id, attempt.number) in listed:
            listed.discard((task.task_id, attempt.number))
        elif (beat.returned or now - attempt.sent_at >= RESEND_AFTER) and fleet.present_instance(
            beat.agent_id
        ) == beat.instance:
            attempt.sent_at = now
            draft.resend(task, attempt)
    for task_id, number in sorted(listed):
        draft.tell_not_held(beat.agent_id, task_id, number, beat.instance)


def _resend_all(draft: Draft, state: State, fleet: Fleet, agent_id: str, now: datetime) -> None:
    instance = fleet.present_instance(agent_id)
    for task in state.held.get(agent_id, {}).values():
        attempt = task.attempts[-1]
        if attempt.instance == instance:
            attempt.sent_at = now
            draft.resend(task, attempt)


def _waiting(_draft: Draft, state: State, _fleet: Fleet, event: events.AgentWaiting, _now: datetime) -> None:
    """The agent waits for answers, or goes on. After `pause_until` its time runs again without another word."""
    task = state.held.get(event.agent_id, {}).get(event.task_id)
    if task is not None and task.attempts[-1].number == event.attempt:
        task.attempts[-1].pause = Pause(event.paused_s, event.waiting_since, event.pause_until)
        state.settle(task)


def _waits_seen(draft: Draft, state: State, fleet: Fleet, seen: WaitsSeen, now: datetime) -> None:
    """Make good for events that did not arrive."""
    for wait in seen.waits:
        _waiting(draft, state, fleet, wait, now)


def _seen(agent_id: str, instance: str, card: events.Card, *, drained: bool) -> AgentSeen:
    return AgentSeen(
        agent_id=agent_id,
        instance=instance,
        drained=drained,
        capabilities=frozenset(card.capabilities),
        slots=card.slots,
        owner=card.owner,
        policy=card.policy,
        wakeable=card.wake is not None,
    )


_HANDLERS: Final[Mapping[type, Callable[[Draft, State, Fleet, Any, datetime], None]]] = {
    events.AgentSpawned: _spawned,
    events.AgentUpdated: _updated,
    events.AgentResumed: _resumed,
    events.AgentStopped: _stopped,
    events.AgentCrashed: _crashed,
    events.AgentDrained: _drained,
    events.AgentUndrained: _undrained,
    events.AgentDeleted: _deleted,
    events.AgentWakeFailed: _wake_failed,
    events.AgentWaiting: _waiting,
    FleetSeen: _fleet_seen,
    WaitsSeen: _waits_seen,
    Beat: _beat,
}
