"""Events of processes, from whoever runs them."""

from typing import ClassVar

from hivewire.events.base import Event
from hivewire.events.foreign import ForeignEvent


class ProcessEvent(ForeignEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of processes."""

    key: ClassVar[str] = "process_id"

    process_id: str
    name: str | None = None
    pid: int | None = None


class ProcessSpawned(ProcessEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A process was started."""

    type: ClassVar[str] = "process.spawned"

    command: str | None = None


class ProcessStopped(ProcessEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A process ended as it was meant to."""

    type: ClassVar[str] = "process.stopped"

    exit_code: int | None = None


class ProcessCrashed(ProcessEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A process ended by itself."""

    type: ClassVar[str] = "process.crashed"

    exit_code: int | None = None
    signal: str | None = None


EVENTS: tuple[type[Event], ...] = (ProcessSpawned, ProcessStopped, ProcessCrashed)
