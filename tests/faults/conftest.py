"""The table of all runs at the end, with the seeds that repeat them."""

import os
import random
from collections.abc import Callable

import pytest

from faults.harness import Outcome

SEED_VARIABLE = "HIVEWIRE_FAULTS_SEED"
HEADINGS = ("fault", "times", "tasks", "lost", "doubled", "agents lost", "recovery p50", "p99", "seed")

_outcomes = pytest.StashKey[list[Outcome]]()


@pytest.fixture
def seed() -> int:
    """What decides the moments of the kills: HIVEWIRE_FAULTS_SEED, else chance."""
    given = os.environ.get(SEED_VARIABLE)
    return int(given) if given else random.randrange(2**32)


@pytest.fixture
def record(pytestconfig: pytest.Config) -> Callable[[Outcome], None]:
    """Puts the outcome of a run into the table, however the run ends."""
    return pytestconfig.stash.setdefault(_outcomes, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = [_row(outcome) for outcome in config.stash.get(_outcomes, [])]
    if not rows:
        return
    terminalreporter.section(f"faults (repeat a row with {SEED_VARIABLE}=<its seed>)")
    widths = [max(len(row[column]) for row in [HEADINGS, *rows]) for column in range(len(HEADINGS))]
    for row in [HEADINGS, *rows]:
        terminalreporter.line("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _row(outcome: Outcome) -> tuple[str, ...]:
    counts = (outcome.strikes, outcome.tasks, outcome.lost, outcome.doubled, outcome.agents_lost)
    times = [f"{outcome.recovery(share):.2f} s" if outcome.recovery_s else "-" for share in (0.5, 0.99)]
    return (outcome.fault, *map(str, counts), *times, str(outcome.seed))
