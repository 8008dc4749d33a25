"""The servers of NATS that a setting names, and which of them is next."""

import random
from typing import Any
from urllib.parse import urlsplit

from nats.aio.client import Server

from hivewire.errors import BadUsage

SCHEMES = frozenset({"nats", "tls", "ws", "wss"})
RECONNECT_FIRST_S = 0.1
RECONNECT_MAX_S = 2.5
"""Short enough that a member that was cut off for half of what it may be silent is back in time, whatever its last beat's
age; long enough that a fleet does not return all at once."""


def server_urls(url: str) -> list[str]:
    """The servers of a URL setting, which may name several.

    Raises:
        BadUsage: one is no URL.
    """
    servers = [part.strip() for part in url.split(",")]
    for server in servers:
        try:
            parts = urlsplit(server if "://" in server else f"nats://{server}")
            usable = bool(parts.hostname) and parts.scheme in SCHEMES and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise BadUsage(f"{server!r} is no URL of a NATS server: write nats://HOST:4222")
    return servers


def next_server(servers: list[Server], _: dict[str, Any]) -> tuple[Server | None, float]:
    """The server that failed least, and how long to wait for it: a fleet must not return all at once."""
    server = min(servers, key=lambda candidate: candidate.reconnects)
    pause_s = min(RECONNECT_FIRST_S * 2**server.reconnects, RECONNECT_MAX_S)
    return server, random.uniform(0.0, pause_s)  # noqa: S311 - spread, not secrecy
