"""Tokens over HTTP: who may call."""

import msgspec
from starlette.responses import Response

from hivewire.admin import CreateToken, RevokeTokens
from hivewire.errors import RefusedError
from hivewire.views import NewToken, RevokedTokens, TokenView
from hivewire_agent_gateway import tokens
from hivewire_agent_gateway.door.calls import OPERATORS, Call, Route, json_response
from hivewire_agent_gateway.door.plain import API
from hivewire_agent_gateway.secrets import WEBHOOK_SECRET, signing_secret
from hivewire_service.core import Refusal


async def create(call: Call) -> Response:
    """Make a token; it is shown this once."""
    made = await tokens.create(call.place.pool, call.place.issuer, call.decode(CreateToken))
    if isinstance(made, Refusal):
        raise RefusedError(made.error, made.status, made.detail)
    return json_response(made, 201)


async def listing(call: Call) -> Response:
    """All tokens, without the tokens themselves."""
    return json_response(await tokens.listing(call.place.pool))


async def revoke(call: Call) -> Response:
    """No token of this name is good any more."""
    revoked = await tokens.revoke(call.place.pool, call.decode(RevokeTokens, name=call.path["name"]))
    if isinstance(revoked, Refusal):
        raise RefusedError(revoked.error, revoked.status)
    return json_response(revoked)


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
