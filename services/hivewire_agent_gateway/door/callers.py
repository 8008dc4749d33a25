"""Who calls: X-Agent-ID, proven by a bearer token that is bound to it and to a role."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import asyncpg
import msgspec

from hivewire import codec
from hivewire.admin import Role
from hivewire.errors import RefusedError
from hivewire.subjects import is_token
from hivewire_agent_gateway.secrets import SQL, token_hash
from hivewire_service.roles import RESERVED_NAMES

REMEMBERED_S: Final = 2.0
"""For so long a token is not looked up again, unless the door hears that it was revoked."""
REMEMBERED_MAX: Final = 10_000
REVOKED: Final = "revoked"


class Revoked(msgspec.Struct):
    """Told to all doors: no token of this name is good any more."""

    name: str


@dataclass(frozen=True, slots=True)
class Caller:
    """A proven caller."""

    id: str
    role: Role


class Callers:
    """Proves callers.

    Args:
        pool: where the tokens' hashes are.
        trusts_ids: whether X-Agent-ID alone makes an agent of the caller.
    """

    def __init__(self, pool: asyncpg.Pool, *, trusts_ids: bool) -> None:
        self._pool = pool
        self._trusts_ids = trusts_ids
        self._known: OrderedDict[str, tuple[Caller | None, float]] = OrderedDict()
        self._connected: dict[str, set[asyncio.Future[None]]] = {}
        """Of what is connected, and no longer: there are no more than there may be connections."""

    def hear(self, _subject: str, body: bytes) -> None:
        """Of tokens that were revoked."""
        envelope = codec.decode_envelope(body)
        told = envelope if isinstance(envelope, codec.Malformed) else codec.decode_as(envelope.data, Revoked, REVOKED)
        if not isinstance(told, Revoked):
            return
        for digest in [digest for digest, (one, _) in self._known.items() if one is not None and one.id == told.name]:
            del self._known[digest]
        for waiting in self._connected.get(told.name, ()):
            if not waiting.done():
                waiting.set_result(None)

    async def until_revoked(self, name: str) -> None:
        """Wait until the tokens of `name` are revoked: what stays connected by one of them ends then."""
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._connected.setdefault(name, set())
        waiting.add(told)
        try:
            await told
        finally:
            waiting.discard(told)
            if not waiting and self._connected.get(name) is waiting:
                del self._connected[name]

    async def of_headers(self, headers: Mapping[str, str]) -> Caller:
        """The caller of a request.

        Raises:
            RefusedError: nobody is named (401), the name cannot be one (400), or the token is not his (401).
        """
        name = headers.get("x-agent-id")
        if not name:
            raise RefusedError("who are you? Send X-Agent-ID, and Authorization: Bearer with its token", 401)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if token and scheme.lower() != "bearer":
            raise RefusedError("Authorization must be: Bearer <token>", 401)
        return await self.prove(name, token.strip())

    async def prove(self, name: str, token: str) -> Caller:
        """The caller with this name, if the token is his. Raises what `of_headers` raises."""
        if not is_token(name):
            raise RefusedError(f"{name[:40]!r} is no id: leave out spaces, '.', '*' and '>'", 400)
        if not token and self._trusts_ids and name not in RESERVED_NAMES.values():
            return Caller(name, "agent")
        caller = await self._look_up(token) if token else None
        if caller is None or caller.id != name:
            raise RefusedError(f"that is no token of {name!r}: `hivewire token create` makes one", 401)
        return caller

    async def _look_up(self, token: str) -> Caller | None:
        digest = token_hash(token)
        known = self._known.get(digest)
        if known is not None and time.monotonic() - known[1] < REMEMBERED_S:
            return known[0]
        row = await self._pool.fetchrow(SQL.find_token, digest)
        caller = Caller(row["name"], row["role"]) if row else None
        self._known[digest] = (caller, time.monotonic())
        self._known.move_to_end(digest)
        while len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        return caller


class Rates:
    """How often each id may call: a bucket that fills by `per_minute` and holds as much."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, now_s: float) -> None:
        """Count a call.

        Raises:
            RefusedError: there were too many (429); the detail says when to come again.
        """
        left, at_s = self._buckets.get(name, (float(self._per_minute), now_s))
        left = min(float(self._per_minute), left + (now_s - at_s) * self._per_minute / 60.0)
        if left < 1.0:
            wait_s = (1.0 - left) * 60.0 / self._per_minute
            raise RefusedError(
                f"more than {self._per_minute} requests a minute from {name!r}: slow down",
                429,
                {"retry_after_s": wait_s},
            )
        self._buckets[name] = (left - 1.0, now_s)
        self._buckets.move_to_end(name)
        while len(self._buckets) > REMEMBERED_MAX:
            self._buckets.popitem(last=False)
