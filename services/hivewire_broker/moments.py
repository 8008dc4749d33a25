"""Moments as whole microseconds, the precision that Postgres keeps."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def span_us(start: datetime, end: datetime) -> int:
    """Microseconds from `start` to `end`, 0 if the clock went back between them."""
    return max(0, (end - start) // _MICROSECOND)
