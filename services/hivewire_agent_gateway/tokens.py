"""Making, listing and revoking the tokens of the HTTP door. A token comes with NATS credentials of the same name."""

from datetime import UTC, datetime, timedelta

import asyncpg

from hivewire.admin import CreateToken, IssueCredentials, ListTokens, RevokeTokens
from hivewire.errors import BadUsage
from hivewire.subjects import token as valid_name
from hivewire.views import NewToken, RevokedTokens, TokenView
from hivewire_agent_gateway.credentials import issue
from hivewire_agent_gateway.secrets import SQL, new_token, token_hash
from hivewire_service.answer import Query
from hivewire_service.core import Refusal
from hivewire_service.identity import Issuer
from hivewire_service.roles import RESERVED_NAMES, Role

Place = asyncpg.Pool | asyncpg.Connection


def queries(issuer: Issuer | None) -> dict[str, Query]:
    """What operators ask over the bus."""

    async def make(connection: asyncpg.Connection, request: CreateToken, _sender: str) -> NewToken | Refusal:
        return await create(connection, issuer, request)

    async def show(connection: asyncpg.Connection, _request: ListTokens, _sender: str) -> list[TokenView]:
        return await listing(connection)

    async def end(connection: asyncpg.Connection, request: RevokeTokens, _sender: str) -> RevokedTokens | Refusal:
        return await revoke(connection, request)

    return {
        "create_token": Query(CreateToken, make),
        "tokens": Query(ListTokens, show),
        "revoke_token": Query(RevokeTokens, end),
    }


async def create(place: Place, issuer: Issuer | None, request: CreateToken) -> NewToken | Refusal:
    """A new token, of which only the hash is kept."""
    try:
        valid_name(request.name, "name")
    except BadUsage as error:
        return Refusal(str(error), 422)
    if request.name == RESERVED_NAMES[Role.SERVICE]:
        return Refusal(f"the name {request.name!r} is reserved: take another", 422)
    now = datetime.now(UTC)
    creds = None
    if issuer is not None:
        issued = issue(issuer, IssueCredentials(request.name, request.role, request.expires_in_s), now)
        if isinstance(issued, Refusal):
            return issued
        creds = issued.creds
    token = new_token()
    expires = None if request.expires_in_s is None else now + timedelta(seconds=request.expires_in_s)
    await place.execute(SQL.add_token, token_hash(token), request.name, request.role, expires)
    return NewToken(request.name, request.role, token, creds)


async def listing(place: Place) -> list[TokenView]:
    """All tokens that were ever made."""
    return [TokenView(**dict(row)) for row in await place.fetch(SQL.list_tokens)]


async def revoke(place: Place, request: RevokeTokens) -> RevokedTokens | Refusal:
    """Let no token of this name be good any more."""
    count = int((await place.execute(SQL.revoke_tokens, request.name)).rpartition(" ")[2])
    return RevokedTokens(request.name, count) if count else Refusal(f"{request.name!r} has no token", 404)
