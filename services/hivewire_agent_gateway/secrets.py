"""What the gateway keeps of secrets: hashes of tokens, and keys that two sides must know."""

import hashlib
import secrets
from typing import Final

import asyncpg

from hivewire_service.queries import load_queries

SQL = load_queries("hivewire_agent_gateway", "secrets.sql")

TOKEN_PREFIX: Final = "hw_"  # noqa: S105 - tells people and scanners what it is
WEBHOOK_SECRET: Final = "webhook"  # noqa: S105 - the name of the secret
_BYTES: Final = 32


def new_token() -> str:
    """A token of 256 random bits."""
    return TOKEN_PREFIX + secrets.token_urlsafe(_BYTES)


def token_hash(token: str) -> str:
    """What is stored of a token. It is as random as its hash, so nothing is gained by a slow one."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


async def signing_secret(connection: asyncpg.Pool | asyncpg.Connection, name: str) -> str:
    """The signing secret of this name; made when it is first asked for."""
    secret: str = await connection.fetchval(SQL.signing_secret, name, secrets.token_urlsafe(_BYTES))
    return secret
