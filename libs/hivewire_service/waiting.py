"""Commands that were read from the stream and wait for a turn of the loop."""

from collections import deque
from collections.abc import Callable
from typing import Final

from hivewire_service.bus import Received
from hivewire_service.intake import Taken

BATCH_COMMANDS_MAX: Final = 500
BATCH_BYTES_MAX: Final = 1024 * 1024
"""A command may be a thousand tasks: beyond this much a batch ends, so that its commit stays short."""
WAITING_COMMANDS_MAX: Final = 2_000
WAITING_BYTES_MAX: Final = 16 * 1024 * 1024
AHEAD_COMMANDS_MIN: Final = 50
AHEAD_BYTES_MIN: Final = 32 * 1024
"""From here on it is worth a turn of its own to decide what waits while the turn before is being committed. With less a
commit is awaited instead: whatever comes meanwhile goes into the same turn."""


class Waiting:
    """The commands that wait, in the order of the stream."""

    def __init__(self) -> None:
        self._messages: deque[Received] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._messages)

    @property
    def has_room(self) -> bool:
        """Whether more may be fetched."""
        return len(self._messages) < WAITING_COMMANDS_MAX and self._bytes < WAITING_BYTES_MAX

    @property
    def is_much(self) -> bool:
        """Whether it should be decided while the turn before is being committed."""
        return len(self._messages) >= AHEAD_COMMANDS_MIN or self._bytes >= AHEAD_BYTES_MIN

    def put(self, received: Received) -> None:
        """Add what was read."""
        self._messages.append(received)
        self._bytes += len(received.body)

    def clear(self) -> None:
        """Forget all of it: it will be read again."""
        self._messages.clear()
        self._bytes = 0

    def take(self, read: Callable[[Received], Taken | None], alone_until: int) -> list[Taken]:
        """Remove the next batch and return what `read` makes of it, without what it leaves out. A command up to the
        sequence number `alone_until` is a batch by itself."""
        batch: list[Taken] = []
        commands, room = BATCH_COMMANDS_MAX, BATCH_BYTES_MAX
        while self._messages and commands and room > 0:
            received = self._messages.popleft()
            self._bytes -= len(received.body)
            taken = read(received)
            if taken is None:
                continue
            batch.append(taken)
            if not taken.over_quota:  # who sends too much takes nobody's place in the batch
                commands -= 1
                room -= len(received.body)
            if received.seq <= alone_until:
                break
        return batch
