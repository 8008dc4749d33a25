"""Deciding about what operators ask: drain, undrain, remove, wake; and what becomes of a wake."""

from datetime import datetime

import msgspec

from hivewire.commands.agent_gateway import Drain, Remove, Undrain, Wake
from hivewire.events.agent import AgentDeleted, AgentDrained, AgentUndrained, AgentWakeFailed, AgentWaking
from hivewire_agent_gateway.registry import Registry
from hivewire_agent_gateway.states import Presence
from hivewire_service.core import NOTHING, Command, Refusal, Step


def drain(registry: Registry, command: Command, _now: datetime) -> Step | Refusal:
    """Give the agent nothing new."""
    data: Drain = command.data
    agent = registry.get(data.agent_id)
    if agent is None:
        return _unknown(data.agent_id)
    return NOTHING if agent.drained else Step(events=[AgentDrained(agent_id=data.agent_id, by=command.sender)])


def undrain(registry: Registry, command: Command, _now: datetime) -> Step | Refusal:
    """Give the agent work again."""
    data: Undrain = command.data
    agent = registry.get(data.agent_id)
    if agent is None:
        return _unknown(data.agent_id)
    return Step(events=[AgentUndrained(agent_id=data.agent_id, by=command.sender)]) if agent.drained else NOTHING


def remove(registry: Registry, command: Command, _now: datetime) -> Step | Refusal:
    """Forget the agent. The event names the instance that was present, which has to stop."""
    data: Remove = command.data
    agent = registry.get(data.agent_id)
    if agent is None:
        return _unknown(data.agent_id)
    present = agent.instance if agent.presence is Presence.PRESENT else None
    return Step(events=[AgentDeleted(agent_id=data.agent_id, by=command.sender, instance=present)])


class WakeUp(msgspec.Struct, frozen=True):
    """Follows from a commit: start the agent in the way that its card says."""

    agent_id: str


class NotWoken(msgspec.Struct, frozen=True):
    """Observed: the agent could not be told to start."""

    agent_id: str
    reason: str


def wake(registry: Registry, command: Command, _now: datetime) -> Step | Refusal:
    """Start an agent that is not there. One that is there is awake."""
    data: Wake = command.data
    agent = registry.get(data.agent_id)
    if agent is None:
        return _unknown(data.agent_id)
    if agent.presence is Presence.PRESENT:
        return NOTHING
    if agent.card.wake is None:
        return Refusal(f"agent {data.agent_id!r} can't be woken: its card names neither a URL nor a command", 409)
    waking = AgentWaking(agent_id=data.agent_id, by=command.sender, reason=data.reason)
    return Step([waking], [WakeUp(data.agent_id)])


def not_woken(registry: Registry, seen: NotWoken) -> Step:
    """A wake failed, unless the agent has come by itself."""
    agent = registry.get(seen.agent_id)
    if agent is None or agent.presence is Presence.PRESENT:
        return NOTHING
    return Step([AgentWakeFailed(agent_id=seen.agent_id, reason=seen.reason)])


def _unknown(agent_id: str) -> Refusal:
    return Refusal(f"agent {agent_id!r} is not registered: `hivewire agents` lists those that are", 404)
