"""Tokens: who may call."""

import msgspec

from hivewire.admin import CreateToken, RevokeTokens
from hivewire.errors import RefusedError
from hivewire.views import NewToken, RevokedTokens, TokenView
from hivewire_agent_gateway import tokens
from hivewire_agent_gateway.door.calls import Call
from hivewire_agent_gateway.secrets import WEBHOOK_SECRET, signing_secret
from hivewire_service.core import Refusal


async def create(call: Call) -> NewToken:
    """Make a token; it is shown this once."""
    made = await tokens.create(call.place.pool, call.place.issuer, call.decode(CreateToken))
    if isinstance(made, Refusal):
        raise RefusedError(made.error, made.status, made.detail)
    return made


async def listing(call: Call) -> list[TokenView]:
    """All tokens, without the tokens themselves."""
    return await tokens.listing(call.place.pool)


async def revoke(call: Call) -> RevokedTokens:
    """No token of this name is good any more."""
    revoked = await tokens.revoke(call.place.pool, call.named(RevokeTokens))
    if isinstance(revoked, Refusal):
        raise RefusedError(revoked.error, revoked.status)
    return revoked


class WebhookSecret(msgspec.Struct):
    """The key of the signatures of webhooks."""

    secret: str


async def webhook_secret(call: Call) -> WebhookSecret:
    """The key with which the hive signs its webhooks."""
    return WebhookSecret(await signing_secret(call.place.pool, WEBHOOK_SECRET))
