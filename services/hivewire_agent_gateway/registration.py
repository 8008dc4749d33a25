"""Deciding about instances that come and go."""

from collections.abc import Iterable
from datetime import datetime

from hivewire import fields
from hivewire.commands.agent_gateway import METADATA_BYTES_MAX, Disconnected, Leave, Register
from hivewire.events import Event
from hivewire.events.agent import AgentDisconnected, AgentResumed, AgentSpawned, AgentStopped, AgentUpdated, Card
from hivewire_agent_gateway.registry import Agent, Registry
from hivewire_agent_gateway.states import Presence, allows
from hivewire_service.core import NOTHING, Command, Refusal, Step
from hivewire_service.roles import RESERVED_NAMES


def register(registry: Registry, command: Command, now: datetime) -> Step | Refusal:
    """An instance says that it speaks for the agent. A newer one replaces the older; a replaced one may not return."""
    data: Register = command.data
    agent_id = command.sender
    refusal = _unfit(agent_id, data)
    if refusal:
        return refusal
    card = card_of(agent_id, data)
    agent = registry.get(agent_id)
    if agent is not None and data.instance == agent.instance:
        return Step(events=_returned(agent_id, agent, card, now))
    if agent is not None and data.instance in agent.replaced:
        return Refusal(
            f"instance {data.instance} of agent {agent_id!r} was replaced by {agent.instance}: stop, "
            "or give each process an agent id of its own",
            409,
            {"instance": agent.instance},
        )
    pushed_out = agent.instance if agent is not None and agent.presence is Presence.PRESENT else None
    spawned = AgentSpawned(
        agent_id=agent_id,
        instance=data.instance,
        card=card,
        spawned_at=now,
        replaces=pushed_out,
        name=card.name,
    )
    return Step(events=[spawned])


def _returned(agent_id: str, agent: Agent, card: Card, now: datetime) -> list[Event]:
    """What follows when the known instance registers again: it has missed messages, so others must learn of it."""
    events: list[Event] = []
    if card != agent.card:
        events.append(AgentUpdated(agent_id=agent_id, instance=agent.instance, card=card))
    events.append(AgentResumed(agent_id=agent_id, instance=agent.instance, resumed_at=now))
    return events


def leave(registry: Registry, command: Command, now: datetime) -> Step | Refusal:
    """An instance stops on purpose."""
    data: Leave = command.data
    agent_id = command.sender
    agent = registry.get(agent_id)
    if agent is None:
        return Refusal(f"agent {agent_id!r} is not registered", 404)
    if data.instance != agent.instance:
        return Refusal(
            f"instance {data.instance} does not speak for agent {agent_id!r}, {agent.instance} does",
            409,
            {"instance": agent.instance},
        )
    if not allows(agent.presence, AgentStopped.type):
        return NOTHING
    stopped = AgentStopped(
        agent_id=agent_id,
        instance=data.instance,
        reason=data.reason,
        stopped_at=now,
        name=agent.card.name,
    )
    return Step(events=[stopped])


def disconnected(registry: Registry, command: Command, now: datetime) -> Step | Refusal:
    """A door lost an agent's connection. Whether the agent is lost is decided by its beats."""
    data: Disconnected = command.data
    if not allows(registry.presence(command.sender), AgentDisconnected.type):
        return NOTHING
    event = AgentDisconnected(
        agent_id=command.sender, instance=data.instance, code=data.code, reason=data.reason, disconnected_at=now
    )
    return Step(events=[event])


def card_of(agent_id: str, data: Register) -> Card:
    """The card that a registration states, with its defaults filled in."""
    return Card(
        name=data.name or agent_id,
        agent_type=data.agent_type,
        endpoint_url=data.endpoint_url,
        capabilities=normalised(data.capabilities),
        slots=data.slots,
        owner=data.owner,
        policy=data.policy,
        labels=data.labels,
        # A copy: the original is a view that would keep the whole message in memory.
        metadata=data.metadata.copy(),
        answers_while_busy=data.answers_while_busy,
        wake=data.wake,
    )


def normalised(capabilities: Iterable[str]) -> list[str]:
    """Capabilities are compared without regard to case and surrounding space."""
    return sorted(set(map(fields.as_compared, capabilities)) - {""})


def _unfit(agent_id: str, data: Register) -> Refusal | None:
    if agent_id in RESERVED_NAMES.values():
        return Refusal(f"the name {agent_id!r} is reserved: register with an agent's credential", 403)
    if data.endpoint_url is not None and data.agent_type != "remote":
        return Refusal("an endpoint_url is for agents of the agent_type 'remote'", 422)
    if data.endpoint_url is not None and not data.endpoint_url.startswith(("http://", "https://")):
        return Refusal("endpoint_url must begin with http:// or https://", 422)
    if len(bytes(data.metadata)) > METADATA_BYTES_MAX:
        return Refusal(f"metadata is larger than {METADATA_BYTES_MAX} bytes: put less on the card", 413)
    return None
