"""Why a task went where it did, or is where it is."""

from datetime import datetime

import msgspec

from hivewire.views import TaskStatus


class Factor(msgspec.Struct):
    """One factor of a candidate's score: its value in [0, 1], its weight and their product."""

    value: float
    weight: float
    contribution: float


class Candidate(msgspec.Struct, omit_defaults=True):
    """An agent that was considered. `gate` names what stopped it, else it was scored."""

    agent_id: str
    score: float | None = None
    gate: str | None = None
    factors: dict[str, Factor] = {}


class WeightShift(msgspec.Struct):
    """The smallest change of one weight, the others scaled so that the sum stays 1, with which another agent wins."""

    change: float
    agent_id: str


class Explanation(msgspec.Struct, kw_only=True):
    """Why an attempt went to its agent: the best candidates, and the others counted by the gate that stopped them.

    `shifts` says by factor what would have changed the winner, None: nothing; `if_idle` is the agent that would have won
    if it were idle. With other weights given, `winner` is who wins with them, None: an agent that was not recorded could
    win too, so it is not known.
    """

    task_id: str
    attempt: int
    agent_id: str
    reason: str
    candidates: list[Candidate] = []
    gated: dict[str, int] = {}
    decided_at: datetime
    oversight: str = "autonomous"
    shifts: dict[str, WeightShift | None] = {}
    if_idle: str | None = None
    woken: bool = False
    """The agent was away, and was woken for the task."""
    reweighted: bool = False
    winner: str | None = None


class WhatIf(msgspec.Struct, kw_only=True):
    """Recorded decisions taken again with other weights.

    `undecided` counts those in which an agent that was not recorded could have won. `loads` is how many of the decided
    ones each agent got and would have got; `skew` is the busiest agent's share relative to an even one. `wait_s` is the
    mean time that tasks would have waited for their agent to finish what it had, by the recorded durations.
    """

    decisions: int
    undecided: int
    changed: int
    loads: dict[str, tuple[int, int]] = {}
    skew: tuple[float, float] = (0.0, 0.0)
    wait_s: tuple[float, float] = (0.0, 0.0)
    changes: list["Change"] = []
    """Some of the changed ones, newest first."""


class Change(msgspec.Struct):
    """A decision that would have another winner."""

    task_id: str
    attempt: int
    agent_id: str
    would_be: str


class Why(msgspec.Struct, omit_defaults=True):
    """Why a task is where it is, in one sentence; `nearest_miss` is the agent that lacks least."""

    task_id: str
    status: TaskStatus
    sentence: str
    waits_for: str
    nearest_miss: str | None = None
