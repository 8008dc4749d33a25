"""Deciding about what operators ask: drain, undrain, remove."""

from datetime import datetime

from hivewire.commands.agent_gateway import Drain, Remove, Undrain
from hivewire.events.agent import AgentDeleted, AgentDrained, AgentUndrained
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


def _unknown(agent_id: str) -> Refusal:
    return Refusal(f"agent {agent_id!r} is not registered: `hivewire agents` lists those that are", 404)
