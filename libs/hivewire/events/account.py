"""Events of the accounts that agents work with."""

from datetime import datetime
from typing import ClassVar

from hivewire.events.base import Event
from hivewire.events.foreign import ForeignEvent


class AccountEvent(ForeignEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of accounts."""

    key: ClassVar[str] = "account_id"

    account_id: str


class AccountCredentialsRefreshed(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The credentials were renewed."""

    type: ClassVar[str] = "account.credentials_refreshed"

    expires_at: datetime
    previous_expires_at: datetime | None = None


class AccountCredentialsExpired(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The credentials can be used no more."""

    type: ClassVar[str] = "account.credentials_expired"

    reason: str = ""
    error: str | None = None


class AccountCredentialsValidated(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The credentials were tried, and work."""

    type: ClassVar[str] = "account.credentials_validated"

    expires_at: datetime | None = None
    was_refreshed: bool = False


EVENTS: tuple[type[Event], ...] = (AccountCredentialsRefreshed, AccountCredentialsExpired, AccountCredentialsValidated)
