"""Commands that were read from the stream and wait for a turn of the loop."""

from collections import deque
from collections.abc import Callable
from typing import Final

from hivewire_service.intake import Taken
from hivewire_service.stream_reader import Received

BATCH_COMMANDS_MAX: Final = 500
BATCH_BYTES_MAX: Final = 1024 * 1024
"""A command may be a thousand tasks: beyond this much a batch ends, so that its commit stays short."""
WAITING_COMMANDS_MAX: Final = 2_000
WAITING_BYTES_MAX: Final = 16 * 1024 * 1024
AHEAD_COMMANDS_MIN: Final = 20
AHEAD_BYTES_MIN: Final = 4 * 1024
"""From here on it is worth a turn of its own to decide what waits while the turn before is being committed. With less a
commit is awaited instead: whatever comes meanwhile goes into the same turn."""


class Waiting:
    """The commands that wait, in the order of the stream, with those among them that are refused for their sender's quota."""

    def __init__(self) -> None:
        self._messages: deque[Received | Taken] = deque()
        self._bytes = 0
        self._refused = 0

    def __bool__(self) -> bool:
        return bool(self._messages)

    @property
    def has_room(self) -> bool:
        """Whether more may be fetched."""
        return len(self._messages) < WAITING_COMMANDS_MAX and self._bytes < WAITING_BYTES_MAX

    @property
    def is_much(self) -> bool:
        """Whether it should be decided while the turn before is being committed."""
        return len(self._messages) - self._refused >= AHEAD_COMMANDS_MIN or self._bytes >= AHEAD_BYTES_MIN

    @property
    def is_urgent(self) -> bool:
        """Whether it is worth a turn by itself. What is refused waits for what others send: a flood makes no commits."""
        return len(self._messages) > self._refused or not self.has_room

    def put(self, message: Received | Taken) -> None:
        """Add what was read."""
        self._messages.append(message)
        self._refused += isinstance(message, Taken)
        self._bytes += _size(message)

    def clear(self) -> None:
        """Forget all of it: it will be read again."""
        self._messages.clear()
        self._bytes = 0
        self._refused = 0

    def take(self, read: Callable[[Received], Taken | None], alone_until: int) -> list[Taken]:
        """Remove the next batch and return what `read` makes of it, without what it leaves out. A command up to the
        sequence number `alone_until` is a batch by itself. What is refused takes nobody's place in it."""
        batch: list[Taken] = []
        commands, room = BATCH_COMMANDS_MAX, BATCH_BYTES_MAX
        while self._messages and commands and room > 0:
            message = self._messages.popleft()
            self._bytes -= _size(message)
            if isinstance(message, Taken):
                self._refused -= 1
                batch.append(message)
            else:
                taken = read(message)
                if taken is None:
                    continue
                batch.append(taken)
                commands -= 1
                room -= len(message.body)
            if batch[-1].received.seq <= alone_until:
                break
        return batch


def _size(message: Received | Taken) -> int:
    return len(message.received.body if isinstance(message, Taken) else message.body)
