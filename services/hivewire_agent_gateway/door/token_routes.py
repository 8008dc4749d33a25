"""Tokens over HTTP: who may call."""

from typing import cast

import asyncpg
import msgspec
from starlette.responses import Response

from hivewire.admin import CreateToken, ListTokens, RevokeTokens
from hivewire.errors import RefusedError
from hivewire.views import NewToken, RevokedTokens, TokenView
from hivewire_agent_gateway.door.calls import OPERATORS, Call, Route, json_response
from hivewire_agent_gateway.door.plain import API
from hivewire_agent_gateway.secrets import WEBHOOK_SECRET, signing_secret
from hivewire_service.answer import Handler
from hivewire_service.core import Refusal


async def create(call: Call) -> Response:
    """Make a token; it is shown this once."""
    return json_response(await _asked(call, call.place.tokens.create, call.decode(CreateToken)), 201)


async def listing(call: Call) -> Response:
    """All tokens, without the tokens themselves."""
    return json_response(await _asked(call, call.place.tokens.listing, ListTokens()))


async def revoke(call: Call) -> Response:
    """No token and no NATS credentials of this name are good any more."""
    request = call.decode(RevokeTokens, name=call.path["name"])
    return json_response(await _asked(call, call.place.tokens.revoke, request))


async def _asked(call: Call, answer: Handler, request: msgspec.Struct) -> object:
    """What operators may ask over the bus as well."""
    async with call.place.pool.acquire() as connection:
        found = await answer(cast(asyncpg.Connection, connection), request, call.caller.id)
    if isinstance(found, Refusal):
        raise RefusedError(found.error, found.status, found.detail)
    return found


class WebhookSecret(msgspec.Struct):
    """The key of the signatures of webhooks."""

    secret: str


async def webhook_secret(call: Call) -> Response:
    """The key with which the hive signs its webhooks."""
    return json_response(WebhookSecret(await signing_secret(call.place.pool, WEBHOOK_SECRET)))


ROUTES = [
    Route(
        "GET",
        f"{API}/webhook-secret",
        "The key of webhooks' signatures",
        webhook_secret,
        roles=OPERATORS,
        answer=WebhookSecret,
        tag="tokens",
    ),
    Route(
        "POST",
        f"{API}/tokens",
        "Make a token",
        create,
        roles=OPERATORS,
        body=CreateToken,
        answer=NewToken,
        status=201,
        tag="tokens",
    ),
    Route("GET", f"{API}/tokens", "List tokens", listing, roles=OPERATORS, answer=list[TokenView], tag="tokens"),
    Route(
        "DELETE",
        f"{API}/tokens/{{name}}",
        "Revoke the tokens of a name",
        revoke,
        roles=OPERATORS,
        answer=RevokedTokens,
        tag="tokens",
    ),
]
