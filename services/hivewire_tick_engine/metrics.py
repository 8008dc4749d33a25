"""The tick engine's own metrics. No label holds an id."""

from collections import Counter as Tally
from collections.abc import Sequence
from typing import get_args

import asyncpg
from prometheus_client import Counter, Gauge, Histogram

from hivewire.events import Event
from hivewire.events.simulation import TickAdvanced
from hivewire.simulation import Status
from hivewire_service.stock import Meter
from hivewire_tick_engine.core import TickEngine

SIMULATIONS = Gauge(
    "hivewire_simulations", "Simulations in memory: all but those that were completed long ago.", ["status"]
)
TICKS = Counter("hivewire_ticks_total", "Ticks done.")
TICK_SECONDS = Histogram(
    "hivewire_tick_seconds",
    "Time of one tick, without its commit.",
    buckets=(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1, 5),
)
TICK_MESSAGES = Counter("hivewire_tick_messages_total", "Messages of simulations.", ["outcome"])
OUTCOMES = ("delivered", "sent", "blocked")
for _outcome in OUTCOMES:
    TICK_MESSAGES.labels(_outcome)


class TickMeter(Meter):
    """Simulations and their ticks."""

    gauges = (SIMULATIONS,)

    def __init__(self, core: TickEngine) -> None:
        self._core = core

    def count(self, events: Sequence[Event]) -> None:
        """Count ticks and what they moved."""
        for event in events:
            if isinstance(event, TickAdvanced):
                TICKS.inc()
                for outcome in OUTCOMES:
                    TICK_MESSAGES.labels(outcome).inc(getattr(event, outcome))

    async def take_stock(self, pool: asyncpg.Pool) -> None:
        """Count what is in memory."""
        del pool
        tally = Tally(simulation.status for simulation in self._core.simulations.values())
        for status in get_args(Status):
            SIMULATIONS.labels(status).set(tally[status])
