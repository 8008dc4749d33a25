"""Agents: registering oneself, and leaving."""

import msgspec

from hivewire import fields, reads, views
from hivewire.commands.agent_gateway import AgentBrief, Leave, Register
from hivewire.errors import RefusedError
from hivewire.ids import new_id
from hivewire.subjects import AGENT_GATEWAY
from hivewire_agent_gateway.door.calls import Call
from hivewire_agent_gateway.secrets import signing_secret


class NewAgent(Register, kw_only=True, omit_defaults=True):
    """Register an agent by its card. Without `agent_id` it is the caller's own; without `instance` one is made."""

    agent_id: fields.Token | None = None
    instance: fields.Token = ""


class Goodbye(msgspec.Struct):
    """The agent stops on purpose: what it holds is given to others at once."""

    reason: fields.Text = ""


class Registered(msgspec.Struct, omit_defaults=True):
    """The agent; for one with an endpoint also the secret with which its dispatches are signed."""

    agent: views.AgentView
    secret: str | None = None


async def register(call: Call) -> Registered:
    """Register an agent. The secret of one with an endpoint is returned this once."""
    wanted = call.decode(NewAgent)
    agent_id = wanted.agent_id or call.caller.id
    if agent_id != call.caller.id and call.caller.role != "operator":
        raise RefusedError(f"{call.caller.id!r} can register itself alone", 403)
    if wanted.endpoint_url is not None:
        call.place.outbound.policy.check_url(wanted.endpoint_url)
    card = call.decode(Register, instance=wanted.instance or await _instance(call, agent_id))
    await call.command(AGENT_GATEWAY, "register", card, AgentBrief, sender=agent_id)
    secret = None
    if wanted.endpoint_url is not None:
        secret = await new_secret(call, agent_id)
    agent = await call.read(AGENT_GATEWAY, "agent", reads.OneAgent(agent_id), views.AgentView)
    return Registered(agent, secret)


async def leave(call: Call) -> object:
    """The agent stops on purpose."""
    agent_id, reason = call.path["agent_id"], call.decode(Goodbye).reason
    if agent_id != call.caller.id and call.caller.role != "operator":
        raise RefusedError(f"{call.caller.id!r} can say of itself alone that it leaves", 403)
    agent: views.AgentView = await call.read(AGENT_GATEWAY, "agent", call.named(reads.OneAgent), views.AgentView)
    if agent.instance is None:
        raise RefusedError(f"agent {agent_id!r} is not there", 409)
    return await call.command(AGENT_GATEWAY, "leave", Leave(agent.instance, reason), sender=agent_id)


async def new_secret(call: Call, agent_id: str) -> str | None:
    """The agent's signing secret if it is new, else None."""
    name = f"agent/{agent_id}"
    known = await call.place.pool.fetchval("SELECT true FROM signing_secret WHERE name = $1", name)
    secret = await signing_secret(call.place.pool, name)
    return None if known else secret


async def _instance(call: Call, agent_id: str) -> str:
    """The instance that speaks for the agent now, so that a repeat replaces nobody; a new one if there is none."""
    try:
        known = await call.read(AGENT_GATEWAY, "agent", reads.OneAgent(agent_id), views.AgentView)
    except RefusedError as error:
        if error.status != 404:
            raise
        return new_id()
    return known.instance or new_id()
