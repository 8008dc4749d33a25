"""Requests to addresses that users name: HTTP agents and webhooks.

They go to http(s) and to public addresses only, unless the operator allows more. The address is checked when the
connection is made, so a name cannot be checked as one address and used as another. Redirects are not followed.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore

from hivewire import limits
from hivewire.errors import BadUsage, HivewireError, RefusedError
from hivewire.tls import trouble
from hivewire_service.settings import Settings

SIGNATURE_HEADER: Final = "X-Hivewire-Signature"
IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
SIGNATURE_AGE_S_MAX: Final = 300.0
CONNECT_S: Final = 10.0
CONNECTIONS_MAX: Final = 512
ANSWER_BYTES_MAX: Final = limits.MESSAGE_BYTES_MAX - 64 * 1024

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Unreachable(HivewireError):
    """No connection could be made."""


class Policy:
    """Where requests may go.

    Args:
        networks: addresses that are allowed although they are not public.
        hosts: if any, the only host names that are allowed.
    """

    def __init__(self, networks: Iterable[Network] = (), hosts: Iterable[str] = ()) -> None:
        self._networks = tuple(networks)
        self._hosts = frozenset(host.lower() for host in hosts)

    def check_url(self, url: str) -> None:
        """Refuse what can never be reached; names are looked up only when a connection is made.

        Raises:
            RefusedError: the URL is not http(s), or its host is not allowed (422).
        """
        try:
            parts = urlsplit(url)
            host = parts.hostname
            _ = parts.port
        except ValueError:
            raise RefusedError(f"{url[:100]!r} is no URL", 422) from None
        if parts.scheme not in {"http", "https"} or not host:
            raise RefusedError(f"{url[:100]!r} is no http(s) URL", 422)
        if self._hosts and host.lower() not in self._hosts:
            raise RefusedError(f"host {host!r} is not among those that the operator allows", 422)
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return
        self.check_address(address)

    def check_address(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
        """Refuse addresses that are not public.

        Raises:
            RefusedError: the address is private, link-local, loopback or reserved, and was not allowed (422).
        """
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        if address.is_global and not address.is_multicast:
            return
        if not any(address in network for network in self._networks):
            raise RefusedError(f"address {address} is not public and not among those that the operator allows", 422)


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to what the policy allows."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the protocol's own
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(f"host {host} is not known") from error
        for *_, place in found:
            self._policy.check_address(ipaddress.ip_address(place[0]))
        return await self._inner.connect_tcp(str(found[0][4][0]), port, timeout, local_address, socket_options)


class Outbound:
    """Signed POSTs. Certificates are verified, by the public CAs and by those in the file `ca`."""

    def __init__(self, policy: Policy, ca: Path | None = None) -> None:
        self.policy = policy
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_trusting(ca),
            max_connections=CONNECTIONS_MAX,
            keepalive_expiry=30.0,
            network_backend=_GuardedBackend(policy),
        )

    @classmethod
    def of(cls, settings: Settings) -> "Outbound":
        """As the operator set it.

        Raises:
            BadUsage: the file of CAs cannot be used.
        """
        return cls(Policy(settings.outbound_networks, settings.outbound_hosts), settings.outbound_ca)

    async def close(self) -> None:
        await self._pool.aclose()

    async def post(
        self, url: str, body: bytes, secret: str, idempotency_key: str, timeout_s: float
    ) -> tuple[int, bytes]:
        """POST a JSON body; the status and body of the answer.

        Raises:
            Unreachable: no connection could be made.
            HivewireError: the address is not allowed, or did not answer in time, or answered too much.
        """
        self.policy.check_url(url)
        headers: dict[str | bytes, str | bytes] = {
            "Content-Type": "application/json",
            "User-Agent": "hivewire",
            IDEMPOTENCY_HEADER: idempotency_key,
            SIGNATURE_HEADER: signature(secret, body, int(time.time())),
        }
        times = {"connect": CONNECT_S, "read": timeout_s, "write": CONNECT_S, "pool": timeout_s}
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._pool.stream("POST", url, headers=headers, content=body, extensions={"timeout": times}) as answer,
            ):
                return answer.status, await _read(answer, url)
        except TimeoutError:
            raise HivewireError(f"{url} did not answer within {timeout_s:g} s") from None
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            raise Unreachable(f"{url} cannot be reached: {_reason(error)}") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            raise HivewireError(f"{url} cannot be reached: {_reason(error)}") from error


def _trusting(ca: Path | None) -> ssl.SSLContext:
    context = httpcore.default_ssl_context()
    if ca is not None:
        try:
            context.load_verify_locations(ca)
        except OSError as error:
            raise BadUsage(f"cannot use HIVEWIRE_OUTBOUND_CA: {ca}: {error.strerror or error}") from error
    return context


def _reason(error: Exception) -> str:
    return trouble(error, ca="HIVEWIRE_OUTBOUND_CA") or str(error) or type(error).__name__


async def _read(answer: httpcore.Response, url: str) -> bytes:
    parts, size = [], 0
    async for part in answer.aiter_stream():
        size += len(part)
        if size > ANSWER_BYTES_MAX:
            raise HivewireError(f"{url} answered with more than {ANSWER_BYTES_MAX} bytes")
        parts.append(part)
    return b"".join(parts)


def signature(secret: str, body: bytes, at: int) -> str:
    """The value of the signature header: HMAC-SHA256 of "<unix seconds>.<body>"."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def is_signed(secret: str, body: bytes, header: str, now: float) -> bool:
    """Whether a signature header is that of the body, and not older than five minutes."""
    parts: Mapping[str, str] = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    at = parts.get("t", "")
    if not (at.isascii() and at.isdigit() and len(at) <= 12) or abs(now - int(at)) > SIGNATURE_AGE_S_MAX:
        return False
    return hmac.compare_digest(signature(secret, body, int(at)).encode(), header.encode())
