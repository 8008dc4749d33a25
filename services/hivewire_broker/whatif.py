"""Recorded decisions, taken again with other weights. What the records do not tell is never guessed."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from hivewire.explanations import Change, WhatIf
from hivewire_broker.decision import RECORDED_MAX, Decision

ROUNDING: Final = 0.5e-4
"""By how much a recorded factor or score may differ from what it was."""
CHANGES_SHOWN_MAX: Final = 100


class Decided(msgspec.Struct):
    """A recorded decision with what became of it. `run_s`: how long its attempt ran, if it ended."""

    decision: Decision
    agent_id: str
    assigned_at: datetime
    run_s: float | None


def winner(decision: Decision, weights: Sequence[float]) -> str | None:
    """Who wins with other weights, or None if an agent that was not recorded could.

    Equal scores are decided as they were: the winner's place comes first, then those behind it.
    """
    scores = [sum(w * v for w, v in zip(weights, factors, strict=True)) for factors in decision.factors]
    best = max(range(len(scores)), key=lambda place: (scores[place], -place))
    # Two factors' rounding: the best may be less, another more.
    lead = min((scores[best] - score for place, score in enumerate(scores) if place != best), default=1.0)
    if best and lead <= 2 * ROUNDING:
        best = 0 if scores[0] >= scores[best] - 2 * ROUNDING else best
    if decision.scored > RECORDED_MAX:
        bound = _most(decision.weights, weights, decision.scores[-1] + ROUNDING)
        if bound >= scores[best] - ROUNDING:
            return None
    return decision.candidates[best]


def _most(recorded: Sequence[float], weights: Sequence[float], score: float) -> float:
    """The highest score by other weights that an agent can have whose recorded score was at most `score`.

    It has all of the factors that gain most for what they cost: first those that cost nothing, the last in part.
    """
    total, left = 0.0, score
    for old, new in sorted(zip(recorded, weights, strict=True), key=lambda pair: -_worth(*pair)):
        share = 1.0 if old == 0.0 else min(1.0, left / old)
        total += new * share
        left -= old * share
    return total


def _worth(old: float, new: float) -> float:
    if old == 0.0:
        return float("inf")
    return new / old


def compare(found: Iterable[Decided], weights: Sequence[float], slots: dict[str, int]) -> WhatIf:
    """What other weights would have changed. `found` is in the order of assignment; `slots` by agent, else 1."""
    decisions = undecided = 0
    was: list[tuple[Decided, str]] = []
    would_be: list[tuple[Decided, str]] = []
    for decided in found:
        decisions += 1
        best = winner(decided.decision, weights)
        if best is None:
            undecided += 1
        else:
            was.append((decided, decided.agent_id))
            would_be.append((decided, best))
    changes = [
        Change(decided.decision.task_id, decided.decision.attempt, before, after)
        for (decided, before), (_, after) in zip(was, would_be, strict=True)
        if before != after
    ]
    loads = [Counter(agent_id for _, agent_id in choices) for choices in (was, would_be)]
    return WhatIf(
        decisions=decisions,
        undecided=undecided,
        changed=len(changes),
        loads={agent_id: (loads[0][agent_id], loads[1][agent_id]) for agent_id in sorted(loads[0] | loads[1])},
        skew=(_skew(loads[0], loads[0] | loads[1]), _skew(loads[1], loads[0] | loads[1])),
        wait_s=(_mean_wait_s(was, slots), _mean_wait_s(would_be, slots)),
        changes=changes[::-1][:CHANGES_SHOWN_MAX],
    )


def _skew(load: Counter[str], agents: Counter[str]) -> float:
    """The busiest agent's load over the mean; 1: all have the same."""
    return max(load.values()) * len(agents) / load.total() if load else 0.0


def _mean_wait_s(choices: Sequence[tuple[Decided, str]], slots: dict[str, int]) -> float:
    """How long a task waits on average until one of its agent's slots is free, each taking as long as it took."""
    free_at: dict[str, list[datetime]] = defaultdict(list)
    waited, counted = timedelta(), 0
    for decided, agent_id in choices:
        if decided.run_s is None:
            continue
        line = free_at[agent_id]
        begins = decided.assigned_at
        if len(line) >= slots.get(agent_id, 1):
            begins = max(begins, heapq.heappop(line))
        heapq.heappush(line, begins + timedelta(seconds=decided.run_s))
        waited += begins - decided.assigned_at
        counted += 1
    return waited.total_seconds() / counted if counted else 0.0
