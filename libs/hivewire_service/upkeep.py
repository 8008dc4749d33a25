"""What runs beside the loop for as long as it owns the service: the pulse, the purge and the housekeeping."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import timedelta

from hivewire import limits
from hivewire_service.bus import TRANSIENT, Bus
from hivewire_service.clock import Clock
from hivewire_service.store import Store

PULSE_S = 1.0
SILENCE_S_MIN = 2.5
"""A gap between two pulses that is longer than this was a pause of the process or a jump of its time."""
PURGE_EVERY_S = 5.0
HOUSEKEEPING_EVERY_S = 3600.0


class Pulse:
    """Tells a pause of the whole process from mere idleness."""

    def __init__(self) -> None:
        self._at_s = time.clock_gettime(time.CLOCK_BOOTTIME)

    def gap_s(self) -> float:
        """Seconds since this was last asked; `run` asks every second, so that more than SILENCE_S_MIN was a pause."""
        before_s, self._at_s = self._at_s, time.clock_gettime(time.CLOCK_BOOTTIME)
        return self._at_s - before_s

    async def run(self, silence: Callable[[float], None]) -> None:
        """Call `silence` with the length of each pause, until cancelled."""
        while True:
            await asyncio.sleep(PULSE_S)
            gap_s = self.gap_s()
            if gap_s > SILENCE_S_MIN:
                silence(gap_s)


async def purge(bus: Bus, stream: str, decided: Callable[[], int]) -> None:
    """Remove decided commands from the stream, all but the last one, by which the stream is recognised."""
    purged_seq = 0
    while True:
        await asyncio.sleep(PURGE_EVERY_S)
        seq = decided()
        if seq != purged_seq and bus.connected:
            with contextlib.suppress(*TRANSIENT):  # it is tried again with the next commands
                await bus.purge_below(stream, seq)
                purged_seq = seq


async def keep_house(store: Store, clock: Clock) -> None:
    """Make the partitions of the days to come, and drop outcomes that no repeat asks for any more."""
    while True:
        await asyncio.sleep(HOUSEKEEPING_EVERY_S)
        now = clock.now()
        await store.add_event_partitions(now)
        await store.drop_old_outcomes(now - timedelta(seconds=limits.OUTCOME_KEPT_S))
