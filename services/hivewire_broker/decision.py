"""The record of a choice: who else could have had the task, and what would have changed it."""

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from hivewire_broker.scoring import FACTORS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RECORDED_MAX: Final = 8
"""Candidates that a decision record names; the others are counted."""
_SORTED_MAX: Final = 200
"""So many scores are sorted as fast as the best of them are found."""
_DIGITS: Final = 4
"""Decimals of a factor in the record."""
_SHIFT_DIGITS: Final = 6
_LEAD_MIN: Final = 1e-15
"""Stands for no lead at all where leads are divided by."""
_NEVER: Final = float("inf")
_EACH_FACTOR: Final = np.arange(len(FACTORS))


class Shift(msgspec.Struct, array_like=True, gc=False):
    """A change of a weight, and the agent that would win with it."""

    change: float
    agent_id: str


class Decision(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """The record of one choice: the best candidates with their factors, the others counted by what stopped them.

    `shifts` says for each factor by how much its weight, the others scaled so that the sum stays 1, would have to change
    at least for another to win, and who that is; None: no weight would do. `if_idle` would have won if it were idle.
    """

    task_id: str
    attempt: int
    weights: tuple[float, ...]
    candidates: list[str]
    scores: list[float]
    factors: list[list[float]]
    scored: int
    gated: dict[str, int]
    shifts: list[Shift | None] = []
    if_idle: str | None = None
    woken: bool = False
    """The winner was woken for the task."""

    @property
    def reason(self) -> str:
        """Why the winner won, in one line."""
        best = self.scores[0]
        woken = ", woken for it" if self.woken else ""
        if self.scored == 1:
            return f"the only free agent that can do it (score {best:.2f}){woken}"
        lead = best - self.scores[1]
        ahead = f"{lead:.2f} ahead of {self.candidates[1]}" if lead else f"level with {self.candidates[1]}"
        return f"best of {self.scored} free agents: score {best:.2f}, {ahead}{woken}"


class Scored(msgspec.Struct, gc=False):
    """All candidates of a choice: their scores, their factors (a row a factor), and the winner's place among them."""

    scores: Floats
    factors: Floats
    winner: int
    name: Callable[[int], str]
    """The agent at a place."""


class Shifts:
    """Finds what change of a weight would have changed a winner."""

    def __init__(self, weights: tuple[float, ...]) -> None:
        self._rooms = [(1.0 - weight, -1.0 / weight if weight else -np.inf) for weight in weights]
        """By factor: how far its weight can grow, and the smallest ratio with which it can fall far enough."""

    def of(self, scored: Scored) -> list[Shift | None]:
        """For each factor the smallest change of its weight with which another would win.

        Let the winner lead a candidate by L, and let the candidate be better by G in a factor of weight w. With the
        weight w + d, and the others scaled so that the sum stays 1, they are level at d = L (1 - w) / (L + G). Of all
        candidates that with the largest G / L is the first to win as the weight grows; that with the smallest as it
        falls, which it does to 0 at most: G / L <= -1 / w.
        """
        scores, factors, winner = scored.scores, scored.factors, scored.winner
        ratios = factors - factors[:, winner, np.newaxis]
        ratios /= np.maximum(scores[winner] - scores, _LEAD_MIN)
        highest, lowest = ratios.argmax(axis=1), ratios.argmin(axis=1)
        ends = zip(
            self._rooms,
            ratios[_EACH_FACTOR, highest].tolist(),
            ratios[_EACH_FACTOR, lowest].tolist(),
            highest.tolist(),
            lowest.tolist(),
            strict=True,
        )
        shifts: list[Shift | None] = []
        for (room, floor), above, below, first, last in ends:
            rise = room / (1.0 + above) if above > 0.0 and room else _NEVER
            fall = -room / (1.0 + below) if below <= floor and room else _NEVER
            if rise == fall == _NEVER:
                shifts.append(None)
            elif rise <= fall:
                shifts.append(Shift(round(rise, _SHIFT_DIGITS), scored.name(first)))
            else:
                shifts.append(Shift(-round(fall, _SHIFT_DIGITS), scored.name(last)))
        return shifts


def record(
    task_id: str,
    attempt: int,
    weights: tuple[float, ...],
    scored: Scored,
    gated: dict[str, int],
    shifts: Shifts,
    if_idle: str | None,
    *,
    woken: bool,
) -> Decision:
    """What is kept of a choice."""
    count = len(scored.scores)
    places = _best_places(scored.scores, scored.winner, min(count, RECORDED_MAX))
    return Decision(
        task_id=task_id,
        attempt=attempt,
        weights=weights,
        candidates=[scored.name(place) for place in places.tolist()],
        scores=scored.scores.take(places).round(_DIGITS).tolist(),
        factors=scored.factors.take(places, axis=1).T.round(_DIGITS).tolist(),
        scored=count,
        gated={gate: stopped for gate, stopped in gated.items() if stopped},
        shifts=shifts.of(scored) if count > 1 else [],
        if_idle=if_idle,
        woken=woken,
    )


def _best_places(scores: Floats, winner: int, count: int) -> Ints:
    """The places of the winner and of the next best, best first."""
    if len(scores) > _SORTED_MAX:
        places = np.argpartition(scores, len(scores) - count)[len(scores) - count :]
        places = places[(-scores[places]).argsort(kind="stable")]
    else:
        places = (-scores).argsort(kind="stable")
    if places[0] == winner:
        return places[:count]
    return np.array([winner, *(place for place in places.tolist() if place != winner)][:count], dtype=np.int64)
