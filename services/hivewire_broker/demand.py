"""Which skills pending tasks ask for, and how hard they are to get: what an agent should be spared for."""

from datetime import datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from hivewire_broker import scoring
from hivewire_broker.fleet import Fleet
from hivewire_broker.state import State

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LOOKED_AT_EVERY: Final = timedelta(seconds=1)
"""What is needed elsewhere changes with every task, and matters only on the whole."""
_SETS_MIN: Final = 64


class SkillSets:
    """The different sets of skills that agents have, as numbered rows of numbered skills; 0 stands for no skill."""

    def __init__(self) -> None:
        self._numbers: dict[frozenset[str], int] = {}
        self._skills: dict[str, int] = {}
        self._rows: Ints = np.zeros((_SETS_MIN, 1), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, skills: frozenset[str]) -> int:
        """The number of a set of skills."""
        number = self._numbers.get(skills)
        if number is None:
            number = self._numbers[skills] = len(self._numbers)
            height, width = self._rows.shape
            if number == height or len(skills) > width:
                rows = np.zeros((height * (1 + (number == height)), max(width, len(skills))), dtype=np.int64)
                rows[:height, :width] = self._rows
                self._rows = rows
            known = self._skills
            self._rows[number, : len(skills)] = [known.setdefault(skill, len(known) + 1) for skill in sorted(skills)]
        return number

    def holding(self, needed: frozenset[str]) -> npt.NDArray[np.bool_]:
        """By set, whether all of these skills are in it; False for the set -1."""
        return np.array([needed <= skills for skills in self._numbers] + [False])

    def highest(self, values: dict[str, float], without: frozenset[str]) -> Floats:
        """By set, the highest value of its skills, except those left out; 0 for a set without any, and for the set -1."""
        by_skill = np.zeros(len(self._skills) + 1)
        for skill, value in values.items():
            if skill not in without and skill in self._skills:
                by_skill[self._skills[skill]] = value
        found: Floats = np.zeros(len(self._numbers) + 1)
        by_skill.take(self._rows[: len(self._numbers)]).max(axis=1, out=found[:-1], initial=0.0)
        return found


class Demand:
    """How much each skill is in demand, as it was when somebody last looked."""

    def __init__(self, state: State, fleet: Fleet) -> None:
        self._state = state
        self._fleet = fleet
        self._looked_at: datetime | None = None
        self._composition = -1
        self.pressures: dict[str, float] = {}
        """By skill that pending tasks ask for and agents have."""
        self.version = 0
        """Grows whenever a pressure changed."""

    def look(self, now: datetime) -> None:
        """Take in what is pending, and who could do it, unless that was done a moment ago."""
        composition = self._fleet.composition
        fresh = self._looked_at is not None and now - self._looked_at < LOOKED_AT_EVERY
        if fresh and composition == self._composition:
            return
        self._looked_at, self._composition = now, composition
        holders = self._fleet.holders
        pressures = {
            skill: scoring.pressure(tasks, holders[skill])
            for skill, tasks in self._state.demand.items()
            if holders[skill]
        }
        if pressures != self.pressures:
            self.pressures = pressures
            self.version += 1
