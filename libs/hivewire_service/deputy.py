"""A service's line to the other services on which it speaks for members of the hive: remote agents, callers over HTTP.

The name that a command's subject ends with is the member's, whom the service has proven before. The answer comes to
the member's reply prefix, to an inbox there that belongs to this process.
"""

import asyncio
from typing import TypeVar

from hivewire import limits
from hivewire.commands import command_type
from hivewire.connection import Connection
from hivewire.credentials import Credentials
from hivewire.envelope import Envelope
from hivewire.ids import new_id
from hivewire.replies import outcome
from hivewire.subjects import reply_prefix
from hivewire.tls import Tls
from hivewire.unanswered import Target
from hivewire_service import metrics
from hivewire_service.roles import RESERVED_NAMES, Role
from hivewire_service.settings import Settings

T = TypeVar("T")


class Deputy(Connection):
    """A connection with a service's credentials."""

    def __init__(self, url: str, hive: str, sender: str, tls: Tls | None = None) -> None:
        super().__init__(url, hive, sender, tls)
        self._instance = new_id()

    def count_too_large(self, kind: str) -> None:
        """A message of this type was too large to be sent."""
        super().count_too_large(kind)
        metrics.TOO_LARGE.labels(kind).inc()

    async def listen_for_members(self) -> None:
        """Hear the answers for everybody on whose behalf we speak."""
        await self._nats.hear(f"{reply_prefix('*')}.{self._instance}.*", self._on_reply)

    async def command_as(
        self,
        member: str,
        service: str,
        verb: str,
        data: object,
        wanted: type[T],
        *,
        timeout_s: float | None = limits.REQUEST_TIMEOUT_S,
    ) -> T:
        """Send a command of `member` and wait for its outcome. Raises what `command` raises."""
        return outcome(await self._ask(self._target(member, service, verb), data, new_id(), timeout_s), wanted)

    def post_as(self, member: str, service: str, verb: str, data: object) -> "asyncio.Future[Envelope]":
        """Send a command of `member`, and again until it is answered. Nothing waits. Raises what `post` raises."""
        return self._send(self._target(member, service, verb), data, new_id()).reply

    async def read_as(
        self,
        member: str,
        service: str,
        query: str,
        params: object,
        wanted: type[T],
        *,
        timeout_s: float | None = limits.REQUEST_TIMEOUT_S,
    ) -> T:
        """Ask a service to read something for `member`. Raises what `command` raises."""
        subject = self.subjects.read(service, query, member)
        target = Target(service, subject, command_type(service, query), stored=False, replies=self._inbox_of(member))
        return outcome(await self._ask(target, params, new_id(), timeout_s), wanted)

    def _target(self, member: str, service: str, verb: str) -> Target:
        subject = self.subjects.command(service, verb, member)
        return Target(service, subject, command_type(service, verb), stored=True, replies=self._inbox_of(member))

    def _inbox_of(self, member: str) -> str:
        return f"{reply_prefix(member)}.{self._instance}"


async def deputy(settings: Settings) -> Deputy:
    """Connect with the credentials of a service, however long it takes.

    Raises:
        RefusedError: the server does not take them.
        NotReachable: it is one that TLS says not to talk to.
    """
    credentials = Credentials.load(settings.nats_creds) if settings.nats_creds else None
    name = RESERVED_NAMES[Role.SERVICE]
    line = await Deputy.open(
        settings.nats_url, credentials, hive=settings.hive, name=name, patience_s=None, tls=settings.nats_tls
    )
    await line.listen_for_members()
    return line
