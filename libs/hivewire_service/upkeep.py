"""What runs beside the loop for as long as it owns the service: the pulse and the purge."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from hivewire_service.bus import TRANSIENT, Bus

PULSE_S = 1.0
SILENCE_S_MIN = 2.5
"""A gap between two pulses that is longer than this was a pause of the process or a jump of its time."""
PURGE_EVERY_S = 1.0
"""What is decided takes room in the stream from what still comes, of the same sender and of all others."""


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
