"""The doors, and which of them posts what to HTTP agents.

Nothing of it is stored: after a start every open post is given out again, with the same Idempotency-Key.
"""

from collections import Counter
from datetime import datetime, timedelta
from typing import Final

from hivewire import limits
from hivewire.inbox import DoorBeat

_GONE_AFTER: Final = timedelta(seconds=limits.DOOR_BEAT_S * limits.DOOR_BEATS_MISSED_MAX)
_RESEND_AFTER: Final = timedelta(seconds=2 * limits.DOOR_BEAT_S)


class Doors:
    """Who is there, and the posts that are under way by session."""

    def __init__(self) -> None:
        self._heard: dict[str, datetime] = {}
        self._posts: dict[str, tuple[str, datetime]] = {}
        self._unsent: dict[str, None] = {}

    def open(self, session_id: str) -> None:
        """An attempt has to be posted."""
        self._posts.pop(session_id, None)
        self._unsent[session_id] = None

    def close(self, session_id: str) -> None:
        """The post is answered, or no longer wanted."""
        self._posts.pop(session_id, None)
        self._unsent.pop(session_id, None)

    def heard(self, beat: DoorBeat, message_ids: dict[str, str], now: datetime) -> list[str]:
        """A door lives. Posts of it that it does not know are to be sent again; `message_ids` are those that are open."""
        if beat.leaving:
            self._heard.pop(beat.door_id, None)
            self._take_back(beat.door_id)
            return []
        self._heard[beat.door_id] = now
        posting = set(beat.posting)
        lost = [
            session_id
            for session_id, (door_id, sent_at) in self._posts.items()
            if door_id == beat.door_id and now - sent_at >= _RESEND_AFTER and message_ids.get(session_id) not in posting
        ]
        for session_id in lost:
            self.open(session_id)
        return lost

    def give_out(self, now: datetime) -> list[tuple[str, str]]:
        """What is to be posted now, and by which door: the one with the least to do."""
        for door_id in [door_id for door_id, at in self._heard.items() if now - at >= _GONE_AFTER]:
            del self._heard[door_id]
            self._take_back(door_id)
        if not self._heard or not self._unsent:
            return []
        load = Counter(door_id for door_id, _ in self._posts.values())
        given = []
        for session_id in self._unsent:
            door_id = min(self._heard, key=lambda name: load[name])
            load[door_id] += 1
            self._posts[session_id] = (door_id, now)
            given.append((session_id, door_id))
        self._unsent.clear()
        return given

    def extend(self, silence_s: float) -> None:
        """No door could be heard."""
        for door_id in self._heard:
            self._heard[door_id] += timedelta(seconds=silence_s)

    def next_due(self) -> datetime | None:
        """When a door might be gone that has something to post."""
        return min(self._heard.values()) + _GONE_AFTER if self._heard and self._posts else None

    @property
    def pending(self) -> bool:
        """Whether something can be given out."""
        return bool(self._unsent and self._heard)

    def _take_back(self, door_id: str) -> None:
        for session_id in [name for name, (door, _) in self._posts.items() if door == door_id]:
            self.open(session_id)
