"""Values on the command line."""

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from hivewire import limits
from hivewire.errors import BadUsage

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)")
_TARGETS = frozenset({"agent", "task", "phase"})
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


def payload(text: str) -> msgspec.Raw:
    """JSON given as a text, as `@FILE`, or as `-` for stdin. It is passed on as it is written.

    Raises:
        BadUsage: it is no JSON, or the file cannot be read.
    """
    body = source(text) if text == "-" or text.startswith("@") else text.encode(errors="surrogateescape")
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadUsage(f"the payload is no JSON ({error}); a text needs quotes of its own: '\"text\"'") from error
    return msgspec.Raw(body)


def content(text: str) -> object:
    """What is said to a peer: the text as it is, or what `@FILE` or `-` holds."""
    return source(text).decode(errors="replace") if text == "-" or text.startswith("@") else text


def source(text: str) -> bytes:
    """The content of `@FILE`, or of stdin for `-`.

    Raises:
        BadUsage: the file cannot be read.
    """
    if text == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(text.removeprefix("@")).read_bytes()
    except OSError as error:
        raise BadUsage(f"cannot read {text.removeprefix('@')}: {error.strerror}") from error


def priority(text: str) -> int | str:
    """A number, or one of the words for which the wire has names."""
    return int(text) if text.isdecimal() and len(text) <= limits.INTEGER_DIGITS_MAX else text


def capabilities(texts: list[str] | None) -> list[str]:
    """Names of capabilities, each given by itself or several with commas between them."""
    return [name.strip() for text in texts or () for name in text.split(",") if name.strip()]


def target(text: str) -> str:
    """Whom something is said to.

    Raises:
        BadUsage: it does not say what it names.
    """
    kind, colon, name = text.partition(":")
    if kind not in _TARGETS or not colon or not name:
        raise BadUsage(f"{text!r} names nobody: write agent:{text.rpartition(':')[2] or 'ID'}, or task:ID, or phase:ID")
    return text


def pairs(texts: list[str]) -> dict[str, str]:
    """`key=value` texts.

    Raises:
        BadUsage: one has no `=`.
    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise BadUsage(f"{text!r} is no label: write it as key=value")
        found[key] = value
    return found


def span_s(text: str) -> float:
    """A time span such as `30s`, `5m`, `1h` or `7d`, in seconds.

    Raises:
        BadUsage: it is none.
    """
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise BadUsage(f"{text!r} is no time span: write 30s, 5m, 1h or 7d")
    return float(match[1]) * _SECONDS[match[2]]


def moment(text: str) -> datetime:
    """A moment: a time span back from now, or a time such as `2026-05-01T12:00:00Z`.

    Raises:
        BadUsage: it is none of these.
    """
    try:
        if _SPAN.fullmatch(text.strip()):
            return datetime.now(UTC) - timedelta(seconds=span_s(text))
        found = datetime.fromisoformat(text)
        if not limits.YEAR_MIN <= found.year <= limits.YEAR_MAX:
            raise BadUsage(f"{text!r} is too far away: take a year within {limits.YEAR_MIN} and {limits.YEAR_MAX}")
        return found if found.tzinfo else found.astimezone()
    except (ValueError, OverflowError):
        raise BadUsage(f"{text[:40]!r} is no time: write a span such as 1h, or 2026-05-01T12:00:00Z") from None


def weights(file: Path) -> dict[str, float]:
    """The weights of the factors by which agents are chosen, from a JSON file.

    Raises:
        BadUsage: it cannot be read, or is no JSON object of numbers.
    """
    try:
        return msgspec.json.decode(source(f"@{file}"), type=dict[str, float])
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadUsage(f"{file} has no weights: {error}; write a JSON object of numbers that sum to 1") from error
