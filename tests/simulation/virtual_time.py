"""An event loop whose clock jumps to the next timer: an hour of waiting passes at once, and always in the same order."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

EPOCH_S = 1_767_225_600.0
"""When every simulation begins: 2026-01-01 UTC."""


class Stuck(Exception):
    """Nothing is ready and no timer is set: everybody waits for somebody else."""


class _Selector:
    """Waits by moving the clock."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Stuck
        self._loop.now_s += timeout
        return []

    def close(self) -> None:
        """Nothing is open."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Without sockets, threads and signals; `now_s` is its time."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0
        self.suspended_s = 0.0
        """How long the machine was suspended so far, which the time since its start counts and ours does not."""
        self._selector = _Selector(self)

    def time(self) -> float:
        return self.now_s

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Whoever calls from a thread wakes a loop that sleeps; this one never does."""


@contextmanager
def instead_of_the_machines(loop: VirtualLoop) -> Iterator[None]:
    """Whoever asks the machine for monotonic time is told the loop's."""
    with (
        patch("time.monotonic", loop.time),
        patch("time.clock_gettime", lambda _: loop.now_s + loop.suspended_s),
    ):
        yield
