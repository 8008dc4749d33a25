"""The factors of a choice, each in [0, 1], and their weights. Plain formulas of one candidate."""

from collections.abc import Iterable, Mapping
from typing import Final

from hivewire.errors import BadUsage

FACTORS: Final = (
    "availability",
    "policy",
    "trust",
    "cost",
    "duration",
    "breadth",
    "affinity",
    "specialisation",
)
"""The order in which factors and weights are kept."""

DEFAULT_WEIGHTS: Final[Mapping[str, float]] = {
    "availability": 0.30,
    "policy": 0.05,
    "trust": 0.20,
    "cost": 0.05,
    "duration": 0.10,
    "breadth": 0.05,
    "affinity": 0.15,
    "specialisation": 0.10,
}

NEUTRAL: Final = 0.5
"""A factor of which nothing is known."""
ASLEEP: Final = 0.8
"""The availability of an agent that has to be woken: less than that of an idle one, more than that of a busy one."""
RISK_DEFAULT: Final = 0.5
COMPLEXITY_DEFAULT: Final = 0.5
BREADTH_HALF: Final = 3
"""Capabilities of an agent of middling breadth."""
COST_HALF: Final = 1.0
"""A mean cost of a task that is middling, in the unit in which agents report it."""
DURATION_HALF_S: Final = 60.0
"""A mean duration that is middling."""
_SUM_TOLERANCE: Final = 1e-6


def weights_in_order(weights: Mapping[str, float]) -> tuple[float, ...]:
    """Checked weights in the order of `FACTORS`.

    Raises:
        BadUsage: a name is unknown or missing, a weight is negative, or the sum is not 1.
    """
    if set(weights) != set(FACTORS):
        raise BadUsage(f"weights must name exactly {', '.join(FACTORS)}")
    negative = [name for name, weight in weights.items() if not weight >= 0.0]
    if negative:
        raise BadUsage(f"the weight of {negative[0]} must be 0 or more")
    total = sum(weights.values())
    if not abs(total - 1.0) <= _SUM_TOLERANCE:
        raise BadUsage(f"weights must sum to 1, not to {total:g}")
    return tuple(float(weights[name]) for name in FACTORS)


def availability(busy: int, slots: int, *, degraded: bool = False, asleep: bool = False) -> float:
    """1 for an idle agent; one that must be woken has a little less; one that works has the less, the fewer of its slots
    are free; one whose work loop stands still, or whose endpoint cannot be reached, has nothing."""
    if degraded:
        return 0.0
    if asleep:
        return ASLEEP
    return 1.0 if busy == 0 else 0.5 * (1.0 - busy / slots)


def policy(name: str) -> float:
    """An agent that is there anyway is better than one that has to be kept awake."""
    return 1.0 if name == "always-on" else 0.5


def trust(completed: int, ended: int) -> float:
    """The share of its attempts that the agent completed, smoothed: 0.5 when nothing is known."""
    return (completed + 1) / (ended + 2)


def trust_for_risk(trusted: float, risk: float) -> float:
    """How far trust matters grows with the task's risk."""
    return 1.0 - risk * (1.0 - trusted)


def cost(costed: int, total: float) -> float:
    """1 for an agent whose tasks cost nothing, falling with their mean cost."""
    return COST_HALF / (COST_HALF + total / costed) if costed else NEUTRAL


def duration(completed: int, run_us: int) -> float:
    """1 for an agent whose tasks take no time, falling with their mean duration."""
    if completed == 0:
        return NEUTRAL
    return DURATION_HALF_S / (DURATION_HALF_S + run_us / completed / 1e6)


def breadth(capabilities: int) -> float:
    """From 0 for an agent without capabilities towards 1 for one with many."""
    return capabilities / (capabilities + BREADTH_HALF)


def breadth_for_complexity(broad: float, complexity: float) -> float:
    """A complex task suits a broad agent, a simple one a narrow one."""
    return complexity * broad + (1.0 - complexity) * (1.0 - broad)


def affinity(shared: int, total: int) -> float:
    """The share of what the task belongs to (dependencies, parent, labels) that the agent did before."""
    return shared / total if total else 0.0


def pressure(tasks: int, holders: int) -> float:
    """How much a skill is in demand, from 0 towards 1: by pending tasks that ask for it and agents that have it."""
    return tasks / (tasks + holders)


def specialisation(spare: Iterable[float]) -> float:
    """1 for an agent whose other skills nobody asks for; the less, the scarcer one of them is for other pending work.

    Args:
        spare: the pressure on each capability that the task does not need.
    """
    return 1.0 - max(spare, default=0.0)
