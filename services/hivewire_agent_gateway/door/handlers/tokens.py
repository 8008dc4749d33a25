"""Tokens: who may call."""

from typing import cast

import asyncpg
import msgspec

from hivewire.admin import CreateToken, ListTokens, RevokeTokens
from hivewire.errors import RefusedError
from hivewire_agent_gateway.door.calls import Call
from hivewire_agent_gateway.secrets import WEBHOOK_SECRET, signing_secret
from hivewire_service.answer import Handler
from hivewire_service.core import Refusal


async def create(call: Call) -> object:
    """Make a token; it is shown this once."""
    return await _asked(call, call.place.tokens.create, call.decode(CreateToken))


async def listing(call: Call) -> object:
    """A page of all tokens, without the tokens themselves."""
    return await _asked(call, call.place.tokens.listing, call.parameters(ListTokens))


async def revoke(call: Call) -> object:
    """No token and no NATS credentials of this name are good any more."""
    return await _asked(call, call.place.tokens.revoke, call.named(RevokeTokens))


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


async def webhook_secret(call: Call) -> WebhookSecret:
    """The key with which the hive signs its webhooks."""
    return WebhookSecret(await signing_secret(call.place.pool, WEBHOOK_SECRET))
