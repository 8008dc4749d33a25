"""Events of servers that agents or people run."""

from typing import ClassVar

from hivewire.events.base import Event
from hivewire.events.foreign import ForeignEvent


class ServerEvent(ForeignEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of servers."""

    key: ClassVar[str] = "server_id"

    server_id: str


class ServerStarted(ServerEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A server takes requests."""

    type: ClassVar[str] = "server.started"

    host: str | None = None
    port: int | None = None
    pid: int | None = None


class ServerStopped(ServerEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A server has ended."""

    type: ClassVar[str] = "server.stopped"

    uptime_s: float | None = None


EVENTS: tuple[type[Event], ...] = (ServerStarted, ServerStopped)
