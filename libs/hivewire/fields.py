"""The constrained types of which commands and events are made. What they refuse never reaches a service's core."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from hivewire import limits

ID_PATTERN = r"^[^\s.*>\x00-\x1f\x7f]+(?!\n)$"
"""In Python `$` alone also matches before a last newline."""
Token = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=limits.TOKEN_BYTES_MAX,
        pattern=ID_PATTERN,
        description="an id that can stand as one token of a subject",
    ),
]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.TITLE_CHARS_MAX)]
Text = Annotated[str, msgspec.Meta(max_length=limits.TEXT_CHARS_MAX)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.LABEL_CHARS_MAX)]
ErrorText = Annotated[str, msgspec.Meta(max_length=limits.ERROR_CHARS_MAX)]
Moment = Annotated[datetime, msgspec.Meta(tz=True, description="RFC 3339 with an offset")]
Capabilities = Annotated[list[Name], msgspec.Meta(max_length=limits.CAPABILITIES_MAX)]
Dependencies = Annotated[list[Token], msgspec.Meta(max_length=limits.DEPENDENCIES_MAX)]
Labels = Annotated[dict[Name, Name], msgspec.Meta(max_length=limits.LABELS_MAX)]
Priority = Annotated[int, msgspec.Meta(ge=0, le=limits.PRIORITY_MAX)]
Attempt = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
TimeoutS = Annotated[float, msgspec.Meta(gt=0.0, le=limits.TIMEOUT_S_MAX)]
Retries = Annotated[int, msgspec.Meta(ge=0, le=limits.RETRIES_MAX)]
Slots = Annotated[int, msgspec.Meta(ge=1, le=limits.SLOTS_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0, le=10**limits.INTEGER_DIGITS_MAX)]

NULL = msgspec.Raw(b"null")
EMPTY_OBJECT = msgspec.Raw(b"{}")
ABSENT = msgspec.Raw(b"")
"""Opaque JSON that was not given; it is never encoded."""

PRIORITIES = {"high": 8, "medium": 5, "low": 2}
PRIORITY_DEFAULT = PRIORITIES["medium"]


def utc(moment: datetime) -> datetime:
    """The same moment in UTC, the only zone that state, rows and events hold."""
    return moment.astimezone(UTC)


def as_compared(capability: str) -> str:
    """A capability as it is compared everywhere: without regard to case and surrounding space."""
    return capability.strip().lower()
