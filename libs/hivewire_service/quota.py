"""How much one sender may ask of a service: a bucket of tokens each, which fills at a steady rate.

Pure: time is an argument. For commands it is the time at which nats-server stored them, so what counts is how fast they
were sent. A service that was away for a while refuses nobody for what waited meanwhile.
"""

from typing import Final

import msgspec

from hivewire import limits

BURST_S: Final = 3.0
"""A sender that was quiet, or whose messages were held up, may send at once what its rate allows in this time."""
SENDERS_MAX: Final = 10_000
"""Buckets that are remembered: whoever sent nothing for the longest time starts with a full one again."""
COST_BYTES: Final = 16 * 1024
"""A message costs one token more for each so many bytes."""


class _Bucket(msgspec.Struct, gc=False):
    left: float
    at_s: float
    promised_s: float
    """Up to when tokens were promised to those that were refused, so that they do not all come back at once."""


class Quotas:
    """The buckets of all senders.

    Args:
        per_second: tokens that a sender gets each second.
        burst: tokens that a bucket holds; by default those of `BURST_S`, and at least one.
    """

    def __init__(self, per_second: float, burst: float | None = None) -> None:
        self.per_second = per_second
        self._burst = max(1.0, per_second * BURST_S if burst is None else burst)
        self._buckets: dict[str, _Bucket] = {}

    def take(self, sender: str, now_s: float, cost: float = 1.0) -> float:
        """Take tokens.

        What costs more than a bucket holds is allowed too and leaves a debt: else a small quota would refuse a large
        message for ever.

        Args:
            sender: who asks; the one that was proven.
            now_s: the time in seconds. One before the last starts the sender's bucket anew: the clock was set, or
                a stream is read once more.
            cost: how many.

        Returns:
            0.0 if they were there; else in how many seconds to ask again, and nothing was taken.
        """
        bucket = self._buckets.pop(sender, None)
        if bucket is None or now_s < bucket.at_s:
            bucket = _Bucket(self._burst, now_s, now_s)
        self._buckets[sender] = bucket  # the one that asked last stands last
        if len(self._buckets) > SENDERS_MAX:
            del self._buckets[next(iter(self._buckets))]
        bucket.left = min(self._burst, bucket.left + (now_s - bucket.at_s) * self.per_second)
        bucket.at_s = now_s
        if bucket.left >= 1.0:
            bucket.left -= cost
            return 0.0
        first_s = (1.0 - bucket.left) / self.per_second
        promised_s = max(first_s, bucket.promised_s - now_s + cost / self.per_second)
        wait_s = max(first_s, min(promised_s, limits.RETRY_AFTER_S_MAX))
        bucket.promised_s = now_s + wait_s
        return wait_s


def cost_of(size_bytes: int) -> float:
    """The tokens of one message."""
    return 1.0 + size_bytes // COST_BYTES
