"""Finding the cycle that a new dependency would close."""

from collections.abc import Callable, Iterable
from typing import Final

SHOWN_MAX: Final = 8
"""Members of a cycle that its refusal names."""


def cycle_through(start: str, needs: Iterable[str], needs_of: Callable[[str], Iterable[str]]) -> str | None:
    """The cycle that there would be if `start` depended on `needs`, as text; None: there would be none."""
    came_from = dict.fromkeys(needs, start)
    open_ends = list(came_from)
    for current in open_ends:
        if current == start:
            return _text(start, came_from)
        for needed in needs_of(current):
            if needed not in came_from:
                came_from[needed] = current
                open_ends.append(needed)
    return None


def _text(start: str, came_from: dict[str, str]) -> str:
    path = [start]
    current = came_from[start]
    while current != start:
        path.append(current)
        current = came_from[current]
    path.append(start)
    path.reverse()
    return " -> ".join(path if len(path) <= SHOWN_MAX else [*path[:SHOWN_MAX], "..."])
