"""Numbers that sum up many measurements."""

import math
from collections.abc import Collection

import msgspec


class Distribution(msgspec.Struct, frozen=True):
    """How latencies are spread, in milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, seconds: Collection[float]) -> "Distribution":
        """The distribution of some latencies, of which there must be one at least."""
        ordered = sorted(seconds)
        return cls(*(round(1_000 * percentile(ordered, share), 2) for share in (0.50, 0.95, 0.99, 1.0)))


def percentile(ordered: list[float], share: float) -> float:
    """The smallest of the ordered values that `share` of them do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
