"""Who gets a task: gates, then a weighted sum of factors, over all candidates at once.

The candidates' numbers stand in arrays, a row an agent. A row is computed anew only when its agent changed; what
depends on a class of requirements is kept with the class until the fleet's composition changes.
"""

from datetime import datetime
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from hivewire_broker import scoring
from hivewire_broker.fleet import AgentSeen, Fleet
from hivewire_broker.moments import microseconds
from hivewire_broker.state import History, State
from hivewire_broker.task import Requirements, Task

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RECORDED_MAX: Final = 8
"""Candidates that a decision record names; the others are counted."""
TIE: Final = 1e-9
"""Scores that differ by less are equal: it is far above rounding errors and far below what a factor means."""
CLASSES_MAX: Final = 1_000
"""Classes of requirements whose candidates are kept; the oldest is computed anew when it is needed again."""

FREE, ABSENT, DRAINED, FULL = range(4)
_GATES: Final = ("free", "presence", "drained", "slots")
_TRUST, _BREADTH, _AFFINITY, _SPECIALISATION = (
    scoring.FACTORS.index(name) for name in ("trust", "breadth", "affinity", "specialisation")
)
_NO_HISTORY: Final = History()
_ROWS_MIN: Final = 64
_DIGITS: Final = 4
"""Decimals of a factor in the record."""


class Decision(msgspec.Struct, kw_only=True):
    """The record of one choice: the best candidates with their factors, the others counted by what stopped them."""

    task_id: str
    attempt: int
    weights: tuple[float, ...]
    candidates: list[str]
    scores: list[float]
    factors: list[list[float]]
    scored: int
    gated: dict[str, int]


class Choice(msgspec.Struct):
    """The agent that gets a task."""

    agent_id: str
    instance: str
    score: float
    reason: str
    decision: Decision


class _Class:
    """The candidates for one class of requirements, as rows."""

    __slots__ = ("composition", "lacking", "mask", "members", "not_owners", "special")

    def __init__(
        self, composition: int, members: Ints, mask: bytes, special: Floats, lacking: int, not_owners: int
    ) -> None:
        self.composition = composition
        self.members = members
        self.mask = mask
        self.special = special
        self.lacking = lacking
        self.not_owners = not_owners


class Matcher:
    """Chooses agents. It caches what the state and the fleet say, and never changes them."""

    def __init__(self, state: State, fleet: Fleet, weights: tuple[float, ...]) -> None:
        self._state = state
        self._fleet = fleet
        self._weights = weights
        self._weight_row = np.array(weights)
        self._rows: dict[str, int] = {}
        self._agents: list[AgentSeen | None] = []
        self._busy: list[int] = []
        self._vacant: list[int] = []
        self._skillsets: dict[frozenset[str], int] = {}
        self._owners: dict[str, int] = {}
        self._classes: dict[Requirements, _Class] = {}
        self._ranked_at = -1
        self._allocate(_ROWS_MIN)
        fleet.changed.update(agent.agent_id for agent in fleet)

    def refresh(self) -> list[int]:
        """Take in what changed since the last time; returns the rows of the agents that changed and are free."""
        changed = self._fleet.changed | self._state.changed_agents
        self._fleet.changed.clear()
        self._state.changed_agents.clear()
        if max(len(self._skillsets), len(self._owners)) > _ROWS_MIN + 2 * len(self._fleet):
            # Mostly those of cards that are gone: number them anew.
            self._skillsets.clear()
            self._owners.clear()
            changed.update(agent.agent_id for agent in self._fleet)
        rows = [self._refresh_agent(agent_id) for agent_id in sorted(changed)]
        return [row for row in rows if row is not None and self._gate[row] == FREE]

    def can_any(self, requirements: Requirements, rows: list[int]) -> bool:
        """Whether one of the agents in these rows could take tasks of a class."""
        mask = self._class(requirements).mask
        return any(mask[row] for row in rows)

    def has_candidates(self, requirements: Requirements) -> bool:
        """Whether any known agent, present or not, could take tasks of a class."""
        return len(self._class(requirements).members) > 0

    def choose(self, task: Task) -> Choice | None:
        """The best agent for a task, or None while no agent that could take it is free."""
        group = self._class(task.requirements)
        if not len(group.members):
            return None
        affinities = self._affinities(task, group.members)
        scores = self._scores(task, group, affinities)
        best = scores.max()
        if best == -np.inf:
            return None
        winner = self._fairest(group.members, np.flatnonzero(scores >= best - TIE))
        return self._choice(task, group, scores, affinities, winner)

    def take(self, agent_id: str, now: datetime) -> None:
        """Count an attempt that was given to an agent, before the state knows of it."""
        row = self._rows[agent_id]
        self._busy[row] += 1
        self._last_us[row] = microseconds(now)
        self._score_agent(row)

    # rows -------------------------------------------------------------------------------------------
    def _allocate(self, size: int) -> None:
        width = len(scoring.FACTORS)
        self._factors: Floats = np.zeros((size, width))
        self._general: Floats = np.full(size, -np.inf)
        self._gate: npt.NDArray[np.int8] = np.full(size, ABSENT, dtype=np.int8)
        self._last_us: Ints = np.zeros(size, dtype=np.int64)
        self._skillset: Ints = np.full(size, -1, dtype=np.int64)
        self._owner: Ints = np.full(size, -1, dtype=np.int64)
        self._rank: Ints = np.zeros(size, dtype=np.int64)

    def _grow(self) -> None:
        """Double the arrays. Ranks are not kept: they are made anew for the larger fleet."""
        used = len(self._agents)
        factors, general, gate = self._factors, self._general, self._gate
        last_us, skillset, owner = self._last_us, self._skillset, self._owner
        self._allocate(2 * used)
        self._factors[:used], self._general[:used], self._gate[:used] = factors, general, gate
        self._last_us[:used], self._skillset[:used], self._owner[:used] = last_us, skillset, owner

    def _row(self, agent_id: str) -> int:
        row = self._rows.get(agent_id)
        if row is None:
            if self._vacant:
                row = self._vacant.pop()
            else:
                row = len(self._agents)
                if row == len(self._general):
                    self._grow()
                self._agents.append(None)
                self._busy.append(0)
            self._rows[agent_id] = row
        return row

    def _refresh_agent(self, agent_id: str) -> int | None:
        agent = self._fleet.get(agent_id)
        if agent is None:
            self._drop_agent(agent_id)
            return None
        row = self._row(agent_id)
        history = self._state.history.get(agent_id, _NO_HISTORY)
        self._agents[row] = agent
        self._busy[row] = len(self._state.held.get(agent_id, ()))
        self._last_us[row] = history.last_assigned_us
        self._skillset[row] = self._skillsets.setdefault(agent.capabilities, len(self._skillsets))
        self._owner[row] = -1 if agent.owner is None else self._owners.setdefault(agent.owner, len(self._owners))
        self._factors[row] = (
            0.0,
            scoring.policy(agent.policy),
            scoring.trust(history.completed, history.ended),
            scoring.COST,
            scoring.duration(history.completed, history.run_us),
            scoring.breadth(len(agent.capabilities)),
            0.0,
            0.0,
        )
        self._score_agent(row)
        return row

    def _drop_agent(self, agent_id: str) -> None:
        row = self._rows.pop(agent_id, None)
        if row is not None:
            self._agents[row] = None
            self._busy[row] = 0
            self._skillset[row] = self._owner[row] = -1
            self._gate[row] = ABSENT
            self._general[row] = -np.inf
            self._vacant.append(row)

    def _score_agent(self, row: int) -> None:
        """The part of an agent's score that is the same for every task of middling risk and complexity."""
        agent = self._agents[row]
        assert agent is not None
        busy = self._busy[row]
        gate = self._gate[row] = _gate(agent, busy)
        if gate != FREE:
            self._general[row] = -np.inf
            return
        available = scoring.availability(busy, agent.slots)
        self._factors[row, 0] = available
        _, policy, trust, cost, duration, breadth, _, _ = self._factors[row].tolist()
        weights = self._weights
        self._general[row] = (
            weights[0] * available
            + weights[1] * policy
            + weights[2] * scoring.trust_for_risk(trust, scoring.RISK_DEFAULT)
            + weights[3] * cost
            + weights[4] * duration
            + weights[5] * scoring.breadth_for_complexity(breadth, scoring.COMPLEXITY_DEFAULT)
        )

    # classes ----------------------------------------------------------------------------------------
    def _class(self, requirements: Requirements) -> _Class:
        group = self._classes.get(requirements)
        if group is None or group.composition != self._fleet.composition:
            self._classes.pop(requirements, None)
            if len(self._classes) >= CLASSES_MAX:
                del self._classes[next(iter(self._classes))]
            group = self._classes[requirements] = self._gather(requirements)
        return group

    def _gather(self, requirements: Requirements) -> _Class:
        used = len(self._agents)
        needed = requirements.capabilities
        fits = np.array([needed <= skills for skills in self._skillsets] + [False])
        special = np.array([self._specialisation(skills, needed) for skills in self._skillsets] + [0.0])
        skillset, owner = self._skillset[:used], self._owner[:used]
        # A vacant row has no skill set: -1 finds the False at the end.
        capable = fits[skillset]
        owned = (owner == -1) | (owner == self._owners.get(requirements.owner, -2))
        fitting = capable & owned
        members = np.flatnonzero(fitting)
        capable_count = int(capable.sum())
        return _Class(
            composition=self._fleet.composition,
            members=members,
            mask=fitting.tobytes(),
            special=special[skillset[members]],
            lacking=len(self._rows) - capable_count,
            not_owners=capable_count - len(members),
        )

    def _specialisation(self, skills: frozenset[str], needed: frozenset[str]) -> float:
        if not needed <= skills:
            return 0.0
        return scoring.specialisation(self._fleet.holders[skill] for skill in skills - needed)

    # one choice -------------------------------------------------------------------------------------
    def _affinities(self, task: Task, members: Ints) -> list[tuple[int, float]]:
        """Places among the members of the agents that worked on the task's kin, with their affinity."""
        total = len(task.kinship) + len(task.depends_on)
        if not total:
            return []
        shares: dict[str, int] = {}
        for agent_id in self._kin_agents(task):
            shares[agent_id] = shares.get(agent_id, 0) + 1
        found = []
        for agent_id, shared in shares.items():
            row = self._rows.get(agent_id)
            if row is not None:
                place = int(np.searchsorted(members, row))
                if place < len(members) and members[place] == row:
                    found.append((place, scoring.affinity(shared, total)))
        return found

    def _kin_agents(self, task: Task) -> list[str]:
        known = [self._state.kin.get(kin) for kin in task.kinship]
        for dependency_id in task.depends_on:
            dependency = self._state.tasks.get(dependency_id)
            if dependency is not None and dependency.attempt is not None:
                known.append(dependency.attempt.agent_id)
        return [agent_id for agent_id in known if agent_id is not None]

    def _scores(self, task: Task, group: _Class, affinities: list[tuple[int, float]]) -> Floats:
        members, weights = group.members, self._weights
        scores: Floats = self._general[members] + weights[_SPECIALISATION] * group.special
        if task.risk is not None:
            doubt = 1.0 - self._factors[members, _TRUST]
            scores += weights[_TRUST] * (scoring.RISK_DEFAULT - task.risk) * doubt
        if task.complexity is not None:
            broad = self._factors[members, _BREADTH]
            scores += weights[_BREADTH] * (2.0 * task.complexity - 1.0) * (broad - scoring.NEUTRAL)
        for place, value in affinities:
            scores[place] += weights[_AFFINITY] * value
        return scores

    def _fairest(self, members: Ints, tied: Ints) -> int:
        """Of places with equal scores the one whose agent waited longest; then by the order of ids."""
        if len(tied) == 1:
            return int(tied[0])
        rows = members[tied]
        last_us = self._last_us[rows]
        longest = np.flatnonzero(last_us == last_us.min())
        if len(longest) > 1:
            self._rank_agents()
            longest = longest[np.argmin(self._rank[rows[longest]]), np.newaxis]
        return int(tied[longest[0]])

    def _rank_agents(self) -> None:
        if self._ranked_at != self._fleet.composition:
            rows = [self._rows[agent_id] for agent_id in sorted(self._rows)]
            self._rank[rows] = np.arange(len(rows))
            self._ranked_at = self._fleet.composition

    # the record -------------------------------------------------------------------------------------
    def _choice(
        self, task: Task, group: _Class, scores: Floats, affinities: list[tuple[int, float]], winner: int
    ) -> Choice:
        gates = np.bincount(self._gate[group.members], minlength=len(_GATES)).tolist()
        places = _best_places(scores, winner, min(gates[FREE], RECORDED_MAX))
        rows = group.members[places]
        factors = self._factors[rows]
        risk = scoring.RISK_DEFAULT if task.risk is None else task.risk
        complexity = scoring.COMPLEXITY_DEFAULT if task.complexity is None else task.complexity
        trusted, broad = factors[:, _TRUST], factors[:, _BREADTH]
        factors[:, _TRUST] = 1.0 - risk * (1.0 - trusted)
        factors[:, _BREADTH] = complexity * broad + (1.0 - complexity) * (1.0 - broad)
        factors[:, _SPECIALISATION] = group.special[places]
        for place, value in affinities:
            factors[places == place, _AFFINITY] = value
        names = [agent.agent_id for row in rows.tolist() if (agent := self._agents[row])]
        values = scores[places].tolist()
        agent = self._agents[int(rows[0])]
        assert agent is not None
        gated = {"capabilities": group.lacking, "owner": group.not_owners}
        gated.update(zip(_GATES[1:], gates[1:], strict=True))
        decision = Decision(
            task_id=task.task_id,
            attempt=len(task.attempts) + 1,
            weights=self._weights,
            candidates=names,
            scores=[round(value, _DIGITS) for value in values],
            factors=factors.round(_DIGITS).tolist(),
            scored=gates[FREE],
            gated={gate: count for gate, count in gated.items() if count},
        )
        return Choice(agent.agent_id, agent.instance, values[0], _reason(decision), decision)


def _gate(agent: AgentSeen, busy: int) -> int:
    """The first gate that stops an agent which has the capabilities and the owner."""
    if agent.presence != "present":
        return ABSENT
    if agent.drained:
        return DRAINED
    return FULL if busy >= agent.slots else FREE


def _best_places(scores: Floats, winner: int, count: int) -> Ints:
    """The places of the winner and of the next best, best first."""
    if len(scores) > count:
        places = np.argpartition(scores, len(scores) - count)[len(scores) - count :]
    else:
        places = np.arange(len(scores))
    ordered = [place for place in places[np.argsort(-scores[places], kind="stable")].tolist() if place != winner]
    return np.array([winner, *ordered[: count - 1]], dtype=np.int64)


def _reason(decision: Decision) -> str:
    best = decision.scores[0]
    if decision.scored == 1:
        return f"the only free agent that can do it (score {best:.2f})"
    lead = best - decision.scores[1]
    ahead = f"{lead:.2f} ahead of {decision.candidates[1]}" if lead else f"level with {decision.candidates[1]}"
    return f"best of {decision.scored} free agents: score {best:.2f}, {ahead}"
