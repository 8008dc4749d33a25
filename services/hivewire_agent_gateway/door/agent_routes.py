"""Agents over HTTP."""

import msgspec
from starlette.responses import Response

from hivewire import fields, reads, views
from hivewire.commands.agent_gateway import AgentBrief, Drain, Register, Undrain
from hivewire.errors import RefusedError
from hivewire.ids import new_id
from hivewire.subjects import AGENT_GATEWAY
from hivewire_agent_gateway.door.calls import AGENTS, OPERATORS, Call, Route, json_response
from hivewire_agent_gateway.door.plain import API, commanding, reading
from hivewire_agent_gateway.secrets import signing_secret


class NewAgent(Register, kw_only=True, omit_defaults=True):
    """An agent's card. Without `agent_id` it is the caller's own; without `instance` one is made."""

    agent_id: fields.Token | None = None
    instance: fields.Token = ""


class Registered(msgspec.Struct, omit_defaults=True):
    """The agent; for one with an endpoint also the secret with which its dispatches are signed."""

    agent: views.AgentView
    secret: str | None = None


async def register(call: Call) -> Response:
    """Register an agent. The secret of one with an endpoint is returned this once."""
    wanted = call.decode(NewAgent)
    agent_id = wanted.agent_id or call.caller.id
    if agent_id != call.caller.id and call.caller.role != "operator":
        raise RefusedError(f"{call.caller.id!r} can register itself alone", 403)
    if wanted.endpoint_url is not None:
        call.place.outbound.policy.check_url(wanted.endpoint_url)
    card = call.decode(Register, instance=wanted.instance or await _instance(call, agent_id))
    line = call.place.line
    await line.command_as(agent_id, AGENT_GATEWAY, "register", card, AgentBrief)
    secret = None
    if wanted.endpoint_url is not None:
        secret = await new_secret(call, agent_id)
    agent = await call.read(AGENT_GATEWAY, "agent", reads.OneAgent(agent_id), views.AgentView)
    return json_response(Registered(agent, secret), 201)


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


_AGENT = f"{API}/agents/{{agent_id}}"

ROUTES = [
    Route(
        "GET",
        f"{API}/agents",
        "List agents",
        reading(AGENT_GATEWAY, "agents", reads.Listing),
        parameters=reads.Listing,
        answer=views.Page,
        tag="agents",
    ),
    Route(
        "GET",
        _AGENT,
        "Show an agent",
        reading(AGENT_GATEWAY, "agent", reads.OneAgent, "agent_id"),
        answer=views.AgentView,
        tag="agents",
    ),
    Route(
        "POST",
        f"{API}/agents",
        "Register an agent",
        register,
        roles=AGENTS,
        body=NewAgent,
        answer=Registered,
        status=201,
        tag="agents",
    ),
    Route(
        "DELETE",
        _AGENT,
        "Forget an agent",
        commanding(AGENT_GATEWAY, "remove", "agent_id"),
        roles=OPERATORS,
        answer=AgentBrief,
        tag="agents",
    ),
    Route(
        "POST",
        f"{_AGENT}/drain",
        "Give an agent nothing new",
        commanding(AGENT_GATEWAY, "drain", "agent_id"),
        roles=OPERATORS,
        body=Drain,
        given=("agent_id",),
        answer=AgentBrief,
        tag="agents",
    ),
    Route(
        "POST",
        f"{_AGENT}/undrain",
        "Give an agent work again",
        commanding(AGENT_GATEWAY, "undrain", "agent_id"),
        roles=OPERATORS,
        body=Undrain,
        given=("agent_id",),
        answer=AgentBrief,
        tag="agents",
    ),
]
