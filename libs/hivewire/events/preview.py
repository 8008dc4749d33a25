"""Events of previews: what agents built, running somewhere."""

from typing import ClassVar

from hivewire.events.base import Event
from hivewire.events.foreign import ForeignEvent


class PreviewEvent(ForeignEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of previews."""

    key: ClassVar[str] = "preview_id"

    preview_id: str
    initiative_id: str | None = None
    branch: str | None = None


class PreviewBuilding(PreviewEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A preview is being built."""

    type: ClassVar[str] = "preview.building"


class PreviewReady(PreviewEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A preview can be looked at."""

    type: ClassVar[str] = "preview.ready"

    url: str | None = None
    port: int | None = None


class PreviewStopped(PreviewEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A preview has ended."""

    type: ClassVar[str] = "preview.stopped"


class PreviewFailed(PreviewEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A preview could not be built."""

    type: ClassVar[str] = "preview.failed"

    error: str = ""


EVENTS: tuple[type[Event], ...] = (PreviewBuilding, PreviewReady, PreviewStopped, PreviewFailed)
