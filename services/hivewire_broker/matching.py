"""Who gets a task: gates, then a weighted sum of factors, over all candidates at once.

The candidates' numbers stand in arrays, a column an agent, which is computed anew only when the agent changed; what
depends on a class of requirements is kept with the class until the fleet's composition changes, or what is in demand.
"""

from datetime import datetime
from operator import mul
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from hivewire_broker import scoring
from hivewire_broker.decision import Decision, Scored, Shifts, record
from hivewire_broker.demand import Demand, SkillSets
from hivewire_broker.fleet import AgentSeen, Fleet
from hivewire_broker.moments import microseconds
from hivewire_broker.state import History, State
from hivewire_broker.task import Requirements, Task

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TIE: Final = 1e-9
"""Scores that differ by less are equal: it is far above rounding errors and far below what a factor means."""
CLASSES_MAX: Final = 1_000
"""Classes of requirements whose candidates are kept; the oldest is computed anew when it is needed again."""

FREE, ABSENT, DRAINED, FULL = range(4)
_GATES: Final = ("free", "presence", "drained", "slots")
_STOPPED: Final = ("free", "not present", "drained", "busy: all its slots are taken")
_TRUST, _BREADTH, _AFFINITY, _SPECIALISATION = (
    scoring.FACTORS.index(name) for name in ("trust", "breadth", "affinity", "specialisation")
)
_NO_HISTORY: Final = History()
_ROWS_MIN: Final = 64


class Choice(msgspec.Struct, gc=False):
    """The agent that gets a task. One that was named has neither score nor record."""

    agent_id: str
    instance: str
    trust: float
    reason: str
    score: float | None = None
    decision: Decision | None = None
    asleep: bool = False
    """It is away and has to be woken first."""


class _Class:
    """The candidates for one class of requirements, as rows."""

    __slots__ = ("composition", "demanded", "lacking", "mask", "members", "not_owners", "special", "special_share")

    def __init__(self, composition: int, members: Ints, mask: bytes, lacking: int, not_owners: int) -> None:
        self.composition = composition
        self.members = members
        self.mask = mask
        self.lacking = lacking
        self.not_owners = not_owners
        self.demanded = -1
        """The version of the demand by which `special` was computed."""
        self.special: Floats = np.zeros(0)
        self.special_share: Floats = np.zeros(0)


class Matcher:
    """Chooses agents. It caches what the state and the fleet say, and never changes them."""

    def __init__(self, state: State, fleet: Fleet, weights: tuple[float, ...]) -> None:
        self._state = state
        self._fleet = fleet
        self._weights = weights
        self._shifts = Shifts(weights)
        self._demand = Demand(state, fleet)
        self._rows: dict[str, int] = {}
        self._agents: list[AgentSeen | None] = []
        self._ids: list[str] = []
        self._busy: list[int] = []
        self._rest: list[float] = []
        """By row: what an agent's score is without its availability and without what depends on the task."""
        self._vacant: list[int] = []
        self._skillsets = SkillSets()
        self._owners: dict[str, int] = {}
        self._classes: dict[Requirements, _Class] = {}
        self._ranked_at = -1
        self._allocate(_ROWS_MIN)
        fleet.changed.update(agent.agent_id for agent in fleet)

    def refresh(self, now: datetime) -> list[int]:
        """Take in what changed since the last time; returns the rows of the agents that changed and are free."""
        self._demand.look(now)
        changed = self._fleet.changed | self._state.changed_agents
        self._fleet.changed.clear()
        self._state.changed_agents.clear()
        if max(len(self._skillsets), len(self._owners)) > _ROWS_MIN + 2 * len(self._fleet):
            # Mostly those of cards that are gone: number them anew.
            self._skillsets = SkillSets()
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

    def choose(self, task: Task, *, awake: bool = False) -> Choice | None:
        """The best agent for a task, or None while no agent that could take it is free. `awake`: none that is asleep."""
        group = self._class(task.requirements)
        if not len(group.members):
            return None
        self._spare(group, task.requirements.capabilities)
        affinities = self._affinities(task, group.members)
        both = self._scores(task, group, affinities)
        if awake:
            both[:, self._asleep.take(group.members)] = -np.inf
        scores, if_idle = both[0], both[1]
        best = scores.max()
        if best == -np.inf:
            return None
        winner = self._fairest(group.members, (scores >= best - TIE).nonzero()[0])
        return self._choice(task, group, scores, if_idle, affinities, winner)

    def name(self, task: Task, agent_id: str) -> Choice | str:
        """The agent that somebody named for a task, or which gate stops it."""
        agent = self._fleet.get(agent_id)
        if agent is None:
            return f"there is no agent {agent_id!r}"
        wanted = task.requirements
        lacking = sorted(wanted.capabilities - agent.capabilities)
        if lacking:
            return f"agent {agent_id} lacks {', '.join(lacking)}"
        if agent.owner not in (None, wanted.owner):
            return f"agent {agent_id} works only for owner {agent.owner}"
        if agent.asleep:
            return f"agent {agent_id} is asleep: wake it first with `hivewire agent wake {agent_id}`"
        row = self._rows[agent_id]
        gate = int(self._gate[row])
        if gate != FREE:
            return f"agent {agent_id} is {_STOPPED[gate]}"
        return Choice(agent_id, agent.instance, self._trust.item(row), "it was named")

    def take(self, agent_id: str, now: datetime) -> None:
        """Count an attempt that was given to an agent, before the state knows of it."""
        row = self._rows[agent_id]
        self._busy[row] += 1
        self._last_us[row] = microseconds(now)
        self._score_agent(row)

    # rows -------------------------------------------------------------------------------------------
    def _allocate(self, size: int) -> None:
        width = len(scoring.FACTORS)
        self._factors: Floats = np.zeros((width, size))
        self._general: Floats = np.full((2, size), -np.inf)
        """What of an agent's score is the same for every task of middling risk and complexity, as it is, and as it
        would be if the agent, which is busy, were idle."""
        self._trust: Floats = np.zeros(size)
        self._broad: Floats = np.zeros(size)
        self._gate: npt.NDArray[np.int8] = np.full(size, ABSENT, dtype=np.int8)
        self._asleep: npt.NDArray[np.bool_] = np.zeros(size, dtype=np.bool_)
        self._last_us: Ints = np.zeros(size, dtype=np.int64)
        self._skillset: Ints = np.full(size, -1, dtype=np.int64)
        self._owner: Ints = np.full(size, -1, dtype=np.int64)
        self._rank: Ints = np.zeros(size, dtype=np.int64)

    def _grow(self) -> None:
        """Double the arrays. Ranks are not kept: they are made anew for the larger fleet."""
        used = len(self._agents)
        factors, general, gate, asleep = self._factors, self._general, self._gate, self._asleep
        trust, broad = self._trust, self._broad
        last_us, skillset, owner = self._last_us, self._skillset, self._owner
        self._allocate(2 * used)
        self._factors[:, :used], self._general[:, :used], self._gate[:used] = factors, general, gate
        self._trust[:used], self._broad[:used], self._asleep[:used] = trust, broad, asleep
        self._last_us[:used], self._skillset[:used], self._owner[:used] = last_us, skillset, owner

    def _row(self, agent_id: str) -> int:
        row = self._rows.get(agent_id)
        if row is None:
            if self._vacant:
                row = self._vacant.pop()
            else:
                row = len(self._agents)
                if row == len(self._gate):
                    self._grow()
                self._agents.append(None)
                self._ids.append(agent_id)
                self._busy.append(0)
                self._rest.append(0.0)
            self._ids[row] = agent_id
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
        self._busy[row] = len(self._state.held.get(agent_id, ())) + len(self._state.awaited.get(agent_id, ()))
        self._last_us[row] = history.last_assigned_us
        self._skillset[row] = self._skillsets.number(agent.capabilities)
        self._owner[row] = -1 if agent.owner is None else self._owners.setdefault(agent.owner, len(self._owners))
        trust = self._trust[row] = scoring.trust(history.completed, history.ended)
        broad = self._broad[row] = scoring.breadth(len(agent.capabilities))
        factors = (
            0.0,
            scoring.policy(agent.policy),
            scoring.trust_for_risk(trust, scoring.RISK_DEFAULT),
            scoring.cost(history.costed, history.cost),
            scoring.duration(history.completed, history.run_us),
            scoring.breadth_for_complexity(broad, scoring.COMPLEXITY_DEFAULT),
            0.0,
            0.0,
        )
        self._factors[:, row] = factors
        self._rest[row] = sum(map(mul, self._weights, factors))
        self._score_agent(row)
        return row

    def _drop_agent(self, agent_id: str) -> None:
        row = self._rows.pop(agent_id, None)
        if row is not None:
            self._agents[row] = None
            self._busy[row] = 0
            self._skillset[row] = self._owner[row] = -1
            self._gate[row] = ABSENT
            self._general[:, row] = -np.inf
            self._vacant.append(row)

    def _score_agent(self, row: int) -> None:
        """The part of an agent's score that does not depend on the task."""
        agent = self._agents[row]
        assert agent is not None
        busy = self._busy[row]
        gate = self._gate[row] = _gate(agent, busy)
        asleep = self._asleep[row] = agent.asleep
        available = scoring.availability(busy, agent.slots, degraded=agent.degraded, asleep=asleep)
        self._factors[0, row] = available
        weight, rest = self._weights[0], self._rest[row]
        self._general[0, row] = weight * available + rest if gate == FREE else -np.inf
        self._general[1, row] = weight + rest if busy and gate in (FREE, FULL) else -np.inf

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
        skillset, owner = self._skillset[:used], self._owner[:used]
        # A vacant row has no skill set: -1 finds the False at the end.
        capable = self._skillsets.holding(requirements.capabilities)[skillset]
        owned = (owner == -1) | (owner == self._owners.get(requirements.owner, -2))
        fitting = capable & owned
        members = np.flatnonzero(fitting)
        capable_count = int(capable.sum())
        return _Class(
            composition=self._fleet.composition,
            members=members,
            mask=fitting.tobytes(),
            lacking=len(self._rows) - capable_count,
            not_owners=capable_count - len(members),
        )

    def _spare(self, group: _Class, needed: frozenset[str]) -> None:
        """Let the class know how far each of its members should be spared for other work."""
        if group.demanded != self._demand.version:
            group.demanded = self._demand.version
            by_set = 1.0 - self._skillsets.highest(self._demand.pressures, without=needed)
            group.special = by_set.take(self._skillset.take(group.members))
            group.special_share = self._weights[_SPECIALISATION] * group.special

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
        """The members' scores as they are, and as those of the busy would be if they were idle: two rows."""
        members, weights = group.members, self._weights
        scores: Floats = self._general.take(members, axis=1)
        scores += group.special_share
        if task.risk is not None:
            doubt = 1.0 - self._trust.take(members)
            scores += weights[_TRUST] * (scoring.RISK_DEFAULT - task.risk) * doubt
        if task.complexity is not None:
            broad = self._broad.take(members)
            scores += weights[_BREADTH] * (2.0 * task.complexity - 1.0) * (broad - scoring.NEUTRAL)
        for place, value in affinities:
            scores[:, place] += weights[_AFFINITY] * value
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
        self,
        task: Task,
        group: _Class,
        scores: Floats,
        if_idle: Floats,
        affinities: list[tuple[int, float]],
        winner: int,
    ) -> Choice:
        members = group.members
        free = (scores > -np.inf).nonzero()[0]
        rows = members.take(free)
        row = int(members[winner])
        agent = self._agents[row]
        assert agent is not None
        scored = Scored(
            scores=scores.take(free),
            factors=self._all_factors(task, group, affinities, free, rows),
            winner=winner if len(free) == len(scores) else int(free.searchsorted(winner)),
            name=lambda place: self._ids[rows.item(place)],
        )
        best = scores.item(winner)
        if_idle[winner] = -np.inf
        idle = int(if_idle.argmax())
        decision = record(
            task_id=task.task_id,
            attempt=len(task.attempts) + 1,
            weights=self._weights,
            scored=scored,
            gated=self._stopped(group, len(free)),
            shifts=self._shifts,
            if_idle=self._ids[members.item(idle)] if if_idle.item(idle) > best + TIE else None,
            woken=task.waits_for == agent.agent_id,
        )
        return Choice(
            agent_id=agent.agent_id,
            instance=agent.instance,
            trust=self._trust.item(row),
            reason=decision.reason,
            score=best,
            decision=decision,
            asleep=agent.asleep,
        )

    def _stopped(self, group: _Class, free: int) -> dict[str, int]:
        """How many agents each gate stopped."""
        gates = np.bincount(self._gate.take(group.members), minlength=len(_GATES)).tolist()
        return {
            "capabilities": group.lacking,
            "owner": group.not_owners,
            "asleep": gates[FREE] - free,
            **dict(zip(_GATES[1:], gates[1:], strict=True)),
        }

    def _all_factors(
        self, task: Task, group: _Class, affinities: list[tuple[int, float]], free: Ints, rows: Ints
    ) -> Floats:
        """The factors of the free members, a row a factor."""
        factors: Floats = self._factors.take(rows, axis=1)
        if task.risk is not None:
            factors[_TRUST] = 1.0 - task.risk * (1.0 - self._trust.take(rows))
        if task.complexity is not None:
            broad = self._broad.take(rows)
            factors[_BREADTH] = task.complexity * broad + (1.0 - task.complexity) * (1.0 - broad)
        factors[_SPECIALISATION] = group.special.take(free)
        for place, value in affinities:
            factors[_AFFINITY, free == place] = value
        return factors


def _gate(agent: AgentSeen, busy: int) -> int:
    """The first gate that stops an agent which has the capabilities and the owner."""
    if agent.presence != "present" and not agent.asleep:
        return ABSENT
    if agent.drained:
        return DRAINED
    return FULL if busy >= agent.slots else FREE
