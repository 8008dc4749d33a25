"""What is due when: questions and messages that expire, and what is sent again because no receipt came."""

import heapq
from datetime import datetime, timedelta
from typing import Final

RESEND_FIRST: Final = timedelta(seconds=5)
RESEND_MAX: Final = timedelta(minutes=5)
"""Without a receipt something is sent again after these pauses, doubling."""


class Timers:
    """Due times by id. One that is due is asked again what it waits for, so entries may be stale."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, str]] = []

    def arm(self, key: str, due: datetime) -> None:
        """Bring `key` up at `due`."""
        heapq.heappush(self._heap, (due, key))

    def next_due(self) -> datetime | None:
        """When the next one comes up, perhaps for nothing."""
        return self._heap[0][0] if self._heap else None

    def pop(self, now: datetime) -> str | None:
        """One whose time has come."""
        return heapq.heappop(self._heap)[1] if self._heap and self._heap[0][0] <= now else None


class Resends:
    """Who was sent what, and has not said that it came."""

    def __init__(self) -> None:
        self._timers = Timers()
        self._due: dict[str, tuple[datetime, timedelta]] = {}

    def sent(self, key: str, now: datetime) -> None:
        """Just sent for the first time, or because its receiver is new."""
        self._arm(key, now, RESEND_FIRST)

    def received(self, key: str) -> None:
        """Its receipt came, or nobody needs it any more."""
        self._due.pop(key, None)

    def next_due(self) -> datetime | None:
        """When something might have to be sent again."""
        return self._timers.next_due()

    def due(self, now: datetime, at_most: int) -> list[str]:
        """What has to be sent again now."""
        found: list[str] = []
        while len(found) < at_most and (key := self._timers.pop(now)) is not None:
            due, pause = self._due.get(key, (None, RESEND_FIRST))
            if due is not None and due <= now:
                found.append(key)
                self._arm(key, now, min(2 * pause, RESEND_MAX))
        return found

    def _arm(self, key: str, now: datetime, pause: timedelta) -> None:
        self._due[key] = (now + pause, pause)
        self._timers.arm(key, now + pause)
