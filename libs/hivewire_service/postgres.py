"""Connecting to Postgres, and what is wrong where that fails."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from hivewire.errors import BadUsage, HivewireError, NotReachable
from hivewire.tls import trouble

CONNECT_ERRORS = (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What asyncpg raises where no connection is made."""
SETTING = "HIVEWIRE_POSTGRES_DSN"
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_NO_TLS_THERE = "rejected SSL upgrade"
_TLS_ONLY_THERE = "no encryption"
_CLIENT_UNKNOWN_THERE = "valid client certificate"
_CLOSED_THERE = "connection was closed"
"""All that is left of TLS 1.3's refusal of a client's certificate where the closing overtook the reason."""


async def connect(dsn: str, **options: Any) -> asyncpg.Connection:
    """A connection, with the options of asyncpg's own `connect`.

    Raises:
        BadUsage: the DSN is malformed, or a file that it names cannot be read.
        NotReachable: Postgres does not answer or does not let us in, or TLS says not to talk to it.
    """
    try:
        return await asyncpg.connect(dsn, **options)
    except CONNECT_ERRORS as error:
        raise failure(error, dsn) from error


def failure(error: BaseException, dsn: str) -> HivewireError:
    """What to tell of a connection that could not be made. The DSN's password is not in it."""
    says = (str(error) or type(error).__name__).splitlines()[0]
    unreadable = _unreadable_file(dsn)
    if unreadable:
        return BadUsage(f"the Postgres DSN can't be used: its {unreadable} cannot be read")
    untrusted = trouble(error, ca=f"sslrootcert in {SETTING}", cert=f"sslcert and sslkey in {SETTING}")
    if untrusted:
        return NotReachable(f"Postgres can't be reached: {untrusted}")
    if _NO_TLS_THERE in says:
        return NotReachable(
            f"Postgres can't be reached: it does not offer TLS, which sslmode in {SETTING} asks for: set `ssl = on` there"
        )
    if _CLIENT_UNKNOWN_THERE in says:
        return NotReachable(
            f"Postgres can't be reached: it wants a client's certificate: name one with sslcert and sslkey in {SETTING}"
        )
    if _TLS_ONLY_THERE in says:
        says += " (it may want TLS: say sslmode=verify-full)"
    if _CLOSED_THERE in says and "sslcert=" in dsn:
        says += " (it may not take the client's certificate that sslcert names)"
    if isinstance(error, ValueError | asyncpg.InterfaceError):
        return BadUsage(f"the Postgres DSN can't be used: {says}")
    return NotReachable(f"Postgres can't be reached: {says}; is it running, and is {SETTING} right?")


def _unreadable_file(dsn: str) -> str:
    """The first file of TLS that the DSN names and that is not there."""
    try:
        named = parse_qs(urlsplit(dsn).query)
    except ValueError:
        return ""
    files = ((name, Path(named[name][-1]).expanduser()) for name in _FILES if name in named)
    return next((f"{name} {file}" for name, file in files if not os.access(file, os.R_OK)), "")
