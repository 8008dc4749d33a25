"""How closely people should look at what an agent does: from what is at stake, and how far the agent is trusted."""

from typing import Final, get_args

from hivewire.events.task import Oversight
from hivewire_broker.scoring import NEUTRAL
from hivewire_broker.task import Task

LEVELS: Final[tuple[Oversight, ...]] = get_args(Oversight)
BOUNDS: Final = (0.1, 0.25, 0.45, 0.7)
"""Concerns from which on the next level holds."""
APPROVED: Final = frozenset[Oversight]({"approve", "supervise"})
"""Levels whose work needs approval."""


def concern(risk: float, verifiability: float, reversibility: float, trust: float) -> float:
    """From 0 to 1: the risk, as far as its outcome can neither be checked nor undone, less for a trusted agent.

    A fully trusted agent halves the concern that a wholly distrusted one raises.
    """
    stake = risk * (1.0 - (verifiability + reversibility) / 2.0)
    return stake * (1.0 - trust / 2.0)


def level(task: Task, trust: float) -> Oversight:
    """The level for a task with an agent of this trust. A task that names no risk is left to the agent."""
    if task.risk is None:
        return LEVELS[0]
    verifiability = NEUTRAL if task.verifiability is None else task.verifiability
    reversibility = NEUTRAL if task.reversibility is None else task.reversibility
    value = concern(task.risk, verifiability, reversibility, trust)
    return LEVELS[sum(value >= bound for bound in BOUNDS)]
