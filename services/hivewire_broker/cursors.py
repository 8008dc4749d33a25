"""Cursors of listings: the number of the last row that was shown."""

from hivewire_service.core import Refusal


def number(cursor: str | None) -> int | Refusal | None:
    """The number that a cursor holds."""
    if cursor is None:
        return None
    digits = cursor.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        return Refusal(f"cursor {cursor[:40]!r} is not one that was given out", 400)
    return int(cursor)
