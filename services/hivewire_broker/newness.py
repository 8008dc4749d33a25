"""Which tasks need not be looked for among the ended ones, because their ids were just made.

A sender makes the id of a task when it submits it (UUIDv7, which tells the time). An id made since the state was loaded can
only be that of a task which this owner decided itself, and of those that ended it remembers more than can end within
FRESH_S. So what is not in memory does not exist, and a round trip to Postgres is saved for almost every submit.

An id may lie about its time. Then the row is there already, the commit fails, and the batch is decided once more after the
state was loaded: nothing is taken for new until an hour after that, so that no sender can make it happen again and again.
"""

from datetime import datetime, timedelta
from typing import Final

from hivewire.ids import made_at_ms

FRESH_S: Final = 5.0
"""At four thousand ends a second the ended tasks that are remembered reach back this far."""
AHEAD_S: Final = 1.0
"""By so much a sender's clock may be ahead."""
DISTRUST: Final = timedelta(hours=1)
"""After a load that is not the first."""


class Newness:
    """Tells the ids that were just made. All times in milliseconds since 1970."""

    def __init__(self) -> None:
        self._since_ms: float | None = None

    def loaded(self, now: datetime) -> None:
        """The state was loaded: tasks that ended before are not in memory."""
        self._since_ms = _ms(now if self._since_ms is None else now + DISTRUST)

    def is_new(self, task_id: str, now: datetime) -> bool:
        """Whether no task of this id can have ended and been forgotten."""
        made_ms, now_ms = made_at_ms(task_id), _ms(now)
        if made_ms is None or self._since_ms is None:
            return False
        earliest_ms = max(self._since_ms + 1000 * AHEAD_S, now_ms - 1000 * FRESH_S)
        return earliest_ms < made_ms < now_ms + 1000 * AHEAD_S


def _ms(moment: datetime) -> float:
    return moment.timestamp() * 1000
