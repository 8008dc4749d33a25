"""A service's commands on their way from the stream to the turn that decides them."""

from collections.abc import Callable

from hivewire_service.bus import Bus
from hivewire_service.intake import Intake, Taken
from hivewire_service.store import Position
from hivewire_service.stream_reader import Place, Received, next_seq
from hivewire_service.topology import StreamState
from hivewire_service.turn import BatchFailed
from hivewire_service.waiting import Waiting

NONE_ALONE = -1
"""Commands of the stream have numbers from 1 on, those heard directly have 0."""


class Inflow:
    """Takes what is read, and gives it out in batches: each command once, in order, and those of a batch that failed one
    by one."""

    def __init__(
        self, bus: Bus, intake: Intake, position: Callable[[], Position], arrived: Callable[..., None]
    ) -> None:
        """`position`: up to where commands are decided. `arrived` is called when something waits, with `soon=True` if that
        has time until something else comes."""
        self.waiting = Waiting()
        self._bus = bus
        self._intake = intake
        self._position = position
        self._arrived = arrived
        self._last_read = Place()
        self._alone_until = NONE_ALONE
        self._poison: Taken | None = None

    @property
    def is_urgent(self) -> bool:
        """Whether something waits that is worth a turn by itself."""
        return self.waiting.is_urgent or self._poison is not None

    @property
    def is_much(self) -> bool:
        """Whether so much waits that it should be decided while the turn before is being committed."""
        return self.waiting.is_much and self._poison is None

    def begin(self) -> None:
        """Go on behind the position, which was loaded."""
        position = self._position()
        self.waiting.clear()
        self._last_read = Place(position.stream_created, position.command_seq, position.command_ns)
        if self._poison is not None and self._is_decided(self._poison.received):
            self._poison = None  # somebody else owned the service meanwhile

    async def first_seq(self, stream: StreamState) -> int:
        """Where to read the stream from."""
        first = await next_seq(self._bus, stream, self._last_read)
        if first != self._last_read.seq + 1:
            self.waiting.clear()
        return first

    def deliver(self, received: Received) -> None:
        """Take what was read or heard. What is over its sender's quota makes no turn by itself."""
        over_quota = None if self._is_decided(received) else self._intake.over_quota(received)
        self.waiting.put(over_quota or received)
        if received.seq:
            self._last_read = Place(received.stream_created, received.seq, received.ns)
        self._arrived(soon=over_quota is not None and self.waiting.has_room)

    def take(self) -> list[Taken]:
        """The next batch; nothing if nothing waits."""
        if self._poison is not None:
            poison, self._poison = self._poison, None
            return [poison]
        batch = self.waiting.take(self._read, alone_until=self._alone_until)
        if any(taken.received.seq > self._alone_until for taken in batch):
            self._alone_until = NONE_ALONE
        return batch

    def set_back(self, failed: BatchFailed) -> None:
        """Give what failed out one by one; what failed alone goes to the rejects next."""
        self._alone_until = max(taken.received.seq for taken in failed.batch)
        if len(failed.batch) == 1:
            self._poison = self._intake.failed(failed.batch[0], failed.cause)

    def _read(self, received: Received) -> Taken | None:
        return None if self._is_decided(received) else self._intake.take(received)

    def _is_decided(self, received: Received) -> bool:
        position = self._position()
        return received.stream_created == position.stream_created and received.seq <= position.command_seq
