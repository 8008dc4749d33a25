"""Wires the tick engine."""

import asyncio

from hivewire.subjects import TICK_ENGINE, Subjects
from hivewire_service.logging import configure
from hivewire_service.run import Definition, run
from hivewire_service.service import Parts
from hivewire_service.settings import Settings
from hivewire_tick_engine.callables import Callables, registered
from hivewire_tick_engine.core import TickEngine
from hivewire_tick_engine.keeping import keeping
from hivewire_tick_engine.metrics import TICK_SECONDS, TickMeter
from hivewire_tick_engine.reads import READS
from hivewire_tick_engine.rows import SimulationRows
from hivewire_tick_engine.sessions import Sessions


def parts(settings: Settings, _subjects: Subjects) -> Parts:
    """The core with its rows, and what asks its callables and its remote agents."""
    targets = registered(settings.callables)
    core = TickEngine(targets.keys(), TICK_SECONDS.time)
    callables, sessions = Callables(core, targets), Sessions(core, settings)
    rows = SimulationRows(core, callables.committed, sessions.committed)
    beside = (callables.run, sessions.run)
    return Parts(core, rows, while_owner=beside, meter=TickMeter(core), keeping=keeping(rows))


DEFINITION = Definition(TICK_ENGINE, parts, READS)


def main(settings: Settings) -> None:
    """Run the tick engine until it is told to stop.

    Raises:
        HivewireError: something that it needs cannot be had.
    """
    configure(level=settings.log_level, style=settings.log_format)
    asyncio.run(run(DEFINITION, settings))
