"""NATS credentials: issued by a gateway that holds the signing keys of the hive's roles, and revoked at once by one that
holds the keys of nats-server's operator.

Credentials are secret: they are stored nowhere. What is kept of a name is its generation, which all its credentials
share and which the next revocation ends.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import cast

import asyncpg
import structlog

from hivewire.admin import IssueCredentials
from hivewire.errors import BadUsage, HivewireError
from hivewire.tls import Tls
from hivewire.views import Credentials
from hivewire_agent_gateway.secrets import SQL
from hivewire_service.authority import REVOKED_MAX, Authority
from hivewire_service.core import Refusal
from hivewire_service.identity import Issuer
from hivewire_service.service import Service
from hivewire_service.settings import Settings
from hivewire_service.store import CONNECTION_ERRORS

log = structlog.get_logger()

RETRY_S = 5.0


class Admission:
    """Who is let in by nats-server."""

    def __init__(self, issuer: Issuer | None, authority: Authority | None, nats_url: str, tls: Tls) -> None:
        self._issuer = issuer
        self._authority = authority
        self._nats_url = nats_url
        self._tls = tls

    @classmethod
    def of(cls, settings: Settings) -> "Admission":
        """As far as the settings name the keys.

        Raises:
            BadUsage: a file of keys cannot be read, or belongs to another hive.
        """
        issuer = Issuer.from_file(settings.keys_file, settings.hive) if settings.keys_file else None
        authority = Authority.load(settings.authority_file) if settings.authority_file else None
        return cls(issuer, authority, settings.nats_url, settings.nats_tls)

    @property
    def issues(self) -> bool:
        """Whether credentials can be had."""
        return self._issuer is not None

    async def issue(
        self, connection: asyncpg.Connection, request: IssueCredentials, _sender: str
    ) -> Credentials | Refusal:
        """New credentials."""
        if self._issuer is None:
            return Refusal("this agent gateway has no signing keys: start it with HIVEWIRE_KEYS_FILE", 422)
        expires = None if request.expires_in_s is None else datetime.now(UTC) + timedelta(seconds=request.expires_in_s)
        generation = await connection.fetchval(SQL.generation, request.name)
        try:
            creds = self._issuer.issue(request.role, request.name, expires, generation=generation)
        except BadUsage as error:
            return Refusal(str(error), 422)
        return Credentials(name=request.name, role=request.role, creds=creds)

    async def revoke(self, connection: asyncpg.Connection, name: str) -> bool | None:
        """Let nobody in with credentials that were issued for `name` so far, and cut who is.

        Returns:
            None if none were issued; False if nobody here may tell nats-server.

        Raises:
            HivewireError: nats-server was not told. It will be, and a repeat of the request tells it.
        """
        if await connection.fetchval(SQL.next_generation, name) is None:
            return None
        if self._issuer is None or self._authority is None:
            return False
        await self._enforce(connection)
        return True

    async def keep(self, service: Service) -> None:
        """Tell nats-server who is revoked whenever it may have forgotten: at each start and reconnection."""
        due = asyncio.Event()
        due.set()
        with service.bus.calling_on_reconnect(due.set):
            while True:
                await due.wait()
                due.clear()
                try:
                    async with service.store.pool.acquire() as connection:
                        await self._enforce(cast(asyncpg.Connection, connection))
                except (HivewireError, *CONNECTION_ERRORS) as error:
                    log.warning("revocations not published, trying again", error=str(error) or type(error).__name__)
                    asyncio.get_running_loop().call_later(RETRY_S, due.set)

    async def _enforce(self, connection: asyncpg.Connection) -> None:
        """Publish the account with all its revocations: one after the other, so that none brings an older list."""
        if self._issuer is None or self._authority is None:
            return
        async with connection.transaction():
            await connection.execute(SQL.lock_credentials)
            revoked = [
                self._issuer.user_key(row["name"], generation).public
                for row in await connection.fetch(SQL.revoked_credentials)
                for generation in range(row["generation"])
            ]
            if len(revoked) > REVOKED_MAX:
                raise HivewireError(f"more than {REVOKED_MAX} revocations: give the hive new signing keys")
            if revoked:
                account = self._authority.account_token(self._issuer.keys, revoked)
                await self._authority.publish(self._nats_url, account, self._tls)
