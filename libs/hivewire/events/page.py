"""Events of pages, from the service that keeps them."""

from typing import ClassVar

from hivewire.events.base import Event
from hivewire.events.foreign import ForeignEvent


class PageEvent(ForeignEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of pages."""

    key: ClassVar[str] = "page_id"

    page_id: str
    title: str | None = None
    parent_page_id: str | None = None


class PageCreated(PageEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A page was made."""

    type: ClassVar[str] = "page.created"

    initiative_id: str | None = None


class PageUpdated(PageEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A page was changed."""

    type: ClassVar[str] = "page.updated"


class PageDeleted(PageEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A page was removed."""

    type: ClassVar[str] = "page.deleted"


EVENTS: tuple[type[Event], ...] = (PageCreated, PageUpdated, PageDeleted)
