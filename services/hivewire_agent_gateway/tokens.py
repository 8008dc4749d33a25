"""Making, listing and revoking the tokens of the HTTP door. A token comes with NATS credentials of the same name."""

from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import structlog

from hivewire.admin import CreateToken, IssueCredentials, ListTokens, RevokeTokens
from hivewire.errors import BadUsage, HivewireError
from hivewire.subjects import AGENT_GATEWAY, Subjects
from hivewire.subjects import token as valid_name
from hivewire.views import NewToken, Page, RevokedTokens, TokenView
from hivewire_agent_gateway.aftermath import envelope_of
from hivewire_agent_gateway.credentials import Admission
from hivewire_agent_gateway.door.callers import REVOKED, Revoked
from hivewire_agent_gateway.secrets import SQL, new_token, token_hash
from hivewire_service.answer import Query
from hivewire_service.bus import Bus
from hivewire_service.core import Refusal
from hivewire_service.history import decode_cursor, encode_cursor
from hivewire_service.roles import RESERVED_NAMES, Role

log = structlog.get_logger()


class Cursor(msgspec.Struct, array_like=True):
    """A place in the listing."""

    created_at: datetime
    token_hash: str


class Tokens:
    """All tokens of the hive."""

    def __init__(self, admission: Admission, bus: Bus, subjects: Subjects) -> None:
        self._admission = admission
        self._bus = bus
        self._subjects = subjects

    def queries(self) -> dict[str, Query]:
        """What operators ask over the bus."""
        return {
            "credentials": Query(IssueCredentials, self._admission.issue),
            "create_token": Query(CreateToken, self.create),
            "tokens": Query(ListTokens, self.listing),
            "revoke_token": Query(RevokeTokens, self.revoke),
        }

    async def create(self, connection: asyncpg.Connection, request: CreateToken, sender: str) -> NewToken | Refusal:
        """A new token, of which only the hash is kept."""
        try:
            valid_name(request.name, "name")
        except BadUsage as error:
            return Refusal(str(error), 422)
        if request.name == RESERVED_NAMES[Role.SERVICE]:
            return Refusal(f"the name {request.name!r} is reserved: take another", 422)
        creds = None
        if self._admission.issues:
            wanted = IssueCredentials(request.name, request.role, request.expires_in_s)
            issued = await self._admission.issue(connection, wanted, sender)
            if isinstance(issued, Refusal):
                return issued
            creds = issued.creds
        token = new_token()
        expires = None if request.expires_in_s is None else datetime.now(UTC) + timedelta(seconds=request.expires_in_s)
        await connection.execute(SQL.add_token, token_hash(token), request.name, request.role, expires)
        return NewToken(request.name, request.role, token, creds)

    async def listing(self, connection: asyncpg.Connection, request: ListTokens, _sender: str) -> Page | Refusal:
        """A page of all tokens that were ever made."""
        after = decode_cursor(request.cursor, Cursor) if request.cursor else None
        if isinstance(after, Refusal):
            return after
        place = (after.created_at, after.token_hash) if after else (None, None)
        rows = await connection.fetch(SQL.list_tokens, *place, request.limit + 1)
        found = rows[: request.limit]
        items = [TokenView(**{name: row[name] for name in TokenView.__struct_fields__}) for row in found]
        more = len(rows) > request.limit
        return Page(items, encode_cursor(Cursor(found[-1]["created_at"], found[-1]["token_hash"])) if more else None)

    async def revoke(
        self, connection: asyncpg.Connection, request: RevokeTokens, sender: str
    ) -> RevokedTokens | Refusal:
        """Let no token and no NATS credentials of this name be good any more, and cut whoever is connected by them."""
        name = request.name
        count = int((await connection.execute(SQL.revoke_tokens, name)).rpartition(" ")[2])
        told = envelope_of(REVOKED, f"/{self._subjects.hive}/{AGENT_GATEWAY}", Revoked(name))
        await self._bus.publish(self._subjects.door("all", REVOKED), told)
        try:
            cut = await self._admission.revoke(connection, name)
        except HivewireError as error:
            return Refusal(f"the tokens are revoked, the NATS credentials are not yet: {error}; try again", 503)
        if not count and cut is None:
            return Refusal(f"{name!r} has no token", 404)
        log.info("tokens revoked", name=name, by=sender, tokens=count, credentials=bool(cut))
        return RevokedTokens(name, count, cut is not False)
