"""The client of nats-py, with TLS as this project wants it.

Whether a connection is encrypted is for the server to say, in the clear. nats-py believes it: whoever sits between could
leave that out and be handed everything. Where TLS was asked for, a server that does not offer it is none of ours.
"""

import ssl
from typing import Any

import nats.errors
from nats.aio.transport import TcpTransport

from hivewire.errors import BadUsage
from hivewire.nats_client import Nats
from hivewire.tls import Tls, trouble


class TlsError(nats.errors.Error):
    """The server and we do not agree about TLS. The text says what to do."""


class NatsClient(Nats):
    """A client that never speaks in the clear if its `tls` names anything or a server's URL begins with `tls://`."""

    def __init__(self, tls: Tls) -> None:
        super().__init__()
        self._tls = tls

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """Made anew for each connection. An error must not end the attempts to reconnect: the files may be replaced."""
        try:
            return self._tls.client_context()
        except BadUsage as error:
            raise TlsError(str(error)) from error

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except (OSError, TimeoutError, nats.errors.Error) as error:
            ended_by = self._ended_by()
            self._drop_transport()
            if ended_by is None:
                raise
            raise ended_by from error
        # nats-py's reader is not told that it reads from TLS, of which asyncio warns when the connection ends.
        writer = self._writer()
        if writer is not None and writer.get_extra_info("sslcontext") is not None:
            writer.transport.get_protocol()._over_ssl = True  # type: ignore[attr-defined]  # noqa: SLF001

    def _ended_by(self) -> BaseException | None:
        """What ended the connection. Where that comes while something is written, asyncio says only that it is lost."""
        reader = self._transport._io_reader if isinstance(self._transport, TcpTransport) else None  # noqa: SLF001
        return reader.exception() if reader is not None else None

    def _drop_transport(self) -> None:
        """A handshake that failed leaves a stream that never says that it is closed, and nats-py waits for that before it
        goes on to the next server."""
        if self._writer() is not None:
            self._abort()
            self._transport = TcpTransport()  # type: ignore[no-untyped-call]

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        await super()._process_info(info, initial_connection)
        if not initial_connection:
            return
        wanted = self._tls.is_wanted or any(server.uri.scheme == "tls" for server in self._server_pool)
        offered = info.get("tls_required") or info.get("tls_available")
        if wanted and not offered:
            raise TlsError("it does not offer TLS, which a URL with tls:// or NATS_CA asks for: configure it there")
        if info.get("tls_verify") and self._tls.cert is None:
            raise TlsError("it wants a client's certificate: name one with NATS_CERT and NATS_KEY")
        # A server that leaves the choice to its clients is asked for TLS by those that want it.
        self._server_info["tls_required"] = bool(info.get("tls_required") or (wanted and offered))


def tls_trouble(error: BaseException) -> str | None:
    """What went wrong with TLS between NATS and us, and what to do; None where something else did."""
    if isinstance(error, TlsError):
        return str(error)
    return trouble(error, ca="NATS_CA", cert="NATS_CERT and NATS_KEY")
