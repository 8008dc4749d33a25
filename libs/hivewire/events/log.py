"""What processes say."""

from typing import ClassVar, Literal

from hivewire.events.base import Event
from hivewire.events.foreign import ForeignEvent


class LogEvent(ForeignEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of logs."""

    key: ClassVar[str] = "process_id"

    process_id: str


class LogEntry(LogEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A line, or several, of a process."""

    type: ClassVar[str] = "log.entry"

    data: str
    name: str | None = None
    stream: Literal["stdout", "stderr"] = "stdout"
    level: str | None = None


EVENTS: tuple[type[Event], ...] = (LogEntry,)
