"""What commands print: tables that fit the terminal, JSON that scripts can rely on."""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
GAP = "  "
FILL_CHARS_MIN = 16
COLOURS = {
    "completed": "32",
    "present": "32",
    "running": "36",
    "assigned": "36",
    "blocked": "33",
    "pending_approval": "33",
    "away": "2",
    "cancelled": "2",
    "lost": "31",
    "failed": "31",
    "timed_out": "31",
    "dead_lettered": "31",
}


def say(text: str = "", *, at_once: bool = False) -> None:
    """A line on stdout. `at_once`: a reader waits for it."""
    sys.stdout.write(text + "\n")
    if at_once:
        sys.stdout.flush()


def complain(text: str) -> None:
    """A line on stderr."""
    sys.stderr.write(" ".join(text.split()) + "\n")


# --- JSON -------------------------------------------------------------------------------------------
def print_json(value: object) -> None:
    """One JSON document; indented where a person reads it."""
    body = msgspec.json.encode(value)
    say((msgspec.json.format(body) if sys.stdout.isatty() else body).decode())


def print_json_line(value: object) -> None:
    """One document of a stream, at once."""
    say(msgspec.json.encode(value).decode(), at_once=True)


async def collected(items: AsyncIterator[T]) -> list[T]:
    """All items of a listing."""
    return [item async for item in items]


# --- tables -----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Column:
    """A column. `fill`: it is cut to what space is left. `spare`: it is left out where the terminal is narrow; the
    highest number goes first. All others are never cut, so that an id can be copied."""

    title: str
    fill: bool = False
    spare: int = 0
    right: bool = False


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print rows under their columns, or the sentence `empty` if there are none."""
    cells = [[clean(cell) for cell in row] for row in rows]
    if not cells:
        say(empty)
        return
    for line in layout(columns, cells, width()):
        say(line)


def layout(columns: Sequence[Column], rows: Sequence[Sequence[str]], width_max: int | None) -> list[str]:
    """The lines of a table of at most `width_max` cells; None: as wide as it wants to be."""
    shown = list(range(len(columns)))
    widths = [max(cells(text) for text in (columns[i].title, *(row[i] for row in rows))) for i in shown]
    if width_max is not None:
        for index in sorted((i for i in shown if columns[i].spare), key=lambda i: -columns[i].spare):
            if _least_width(columns, widths, shown) <= width_max:
                break
            shown.remove(index)
        _cut(columns, widths, shown, width_max)
    titles = [column.title for column in columns]
    return [
        _line(columns, titles, widths, shown, styled=False),
        *(_line(columns, row, widths, shown, styled=True) for row in rows),
    ]


def _least_width(columns: Sequence[Column], widths: Sequence[int], shown: Sequence[int]) -> int:
    least = sum(min(widths[i], FILL_CHARS_MIN) if columns[i].fill else widths[i] for i in shown)
    return least + len(GAP) * (len(shown) - 1)


def _cut(columns: Sequence[Column], widths: list[int], shown: Sequence[int], width_max: int) -> None:
    for index in shown:
        if columns[index].fill:
            others = sum(widths[i] for i in shown if i != index) + len(GAP) * (len(shown) - 1)
            widths[index] = min(widths[index], max(FILL_CHARS_MIN, width_max - others))


def _line(
    columns: Sequence[Column], row: Sequence[str], widths: Sequence[int], shown: Sequence[int], *, styled: bool
) -> str:
    parts = []
    for index in shown:
        text = cut(row[index], widths[index])
        padding = " " * (widths[index] - cells(text))
        text = coloured(text) if styled else text
        parts.append(padding + text if columns[index].right else text + padding)
    return GAP.join(parts).rstrip()


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line; those without a value are left out."""
    known = [(name, clean(value, lines=True)) for name, value in facts if value not in (None, "", [], {})]
    indent = max((len(name) for name, _ in known), default=0) + len(GAP)
    for name, value in known:
        first, *rest = value.split("\n")
        say(name.ljust(indent) + coloured(first))
        for line in rest:
            say(" " * indent + line)


# --- texts ------------------------------------------------------------------------------------------
def width() -> int | None:
    """The terminal's width; None where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def cells(text: str) -> int:
    """How many places a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width_max: int) -> str:
    """`text` in at most `width_max` places."""
    if cells(text) <= width_max:
        return text
    from rich.cells import set_cell_size

    return set_cell_size(text, width_max - 1).rstrip() + "…"


def clean(value: object, *, lines: bool = False) -> str:
    """A value as text that cannot play with the terminal."""
    if value is None:
        return "-"
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or (lines and char == "\n") else " " for char in text)


def coloured(text: str) -> str:
    """A status in its colour, where there are colours."""
    code = COLOURS.get(text)
    if code is None or not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float) -> str:
    """A time span in its largest unit."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else _whole(seconds)


def _whole(seconds: float) -> str:
    size, unit = next((size, unit) for size, unit in UNITS if seconds >= size)
    return f"{seconds / size:.0f} {unit}"


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago, or how soon, something is."""
    if moment is None:
        return "-"
    passed: timedelta = (now or datetime.now(UTC)) - moment
    seconds = round(passed.total_seconds())
    if seconds == 0:
        return "now"
    return f"{_whole(seconds)} ago" if seconds > 0 else f"in {_whole(-seconds)}"


def as_text(result: Any) -> str:
    """A result as people expect it: a text as it is, all else as JSON."""
    return result if isinstance(result, str) else msgspec.json.encode(result).decode()
