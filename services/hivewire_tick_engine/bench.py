"""Ticks in memory alone, without bus and database: `python -m hivewire_tick_engine.bench TICKS` prints their cost."""

import sys
import time
from datetime import UTC, datetime

import msgspec

from hivewire.commands.tick_engine import Create, Start, Tick
from hivewire_service.bench.rehearsal import TICKS_COMPARED, rehearsal
from hivewire_service.core import Command, Step
from hivewire_tick_engine.core import TickEngine

SIMULATION = "bench"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def main(ticks: int) -> None:
    """Run, and print what each thousand ticks took: seconds, and seconds of processor time."""
    engine = TickEngine()
    body = msgspec.json.encode({"simulation_id": SIMULATION, **rehearsal()})
    _carry_out(engine, "create", msgspec.json.decode(body, type=Create))
    _carry_out(engine, "start", Start(SIMULATION))
    simulation = engine.simulations[SIMULATION]
    seconds, cpu_s = [], []
    for target in range(TICKS_COMPARED, ticks + 1, TICKS_COMPARED):
        begun, cpu_begun = time.perf_counter(), time.process_time()
        while simulation.tick < target:
            _carry_out(engine, "tick", Tick(SIMULATION, target - simulation.tick, simulation.tick))
        seconds.append(time.perf_counter() - begun)
        cpu_s.append(time.process_time() - cpu_begun)
    sys.stdout.write(msgspec.json.encode({"seconds": seconds, "cpu_s": cpu_s}).decode() + "\n")


def _carry_out(engine: TickEngine, verb: str, data: msgspec.Struct) -> None:
    step = engine.decide(Command("", verb, "operator", data), NOW)
    assert isinstance(step, Step)
    for event in step.events:
        engine.evolve(event)


if __name__ == "__main__":
    main(int(sys.argv[1]))
