"""Thousands of random lives of a hive in the broker's pure core; `make test` lives some dozens of them."""

import pytest
from hypothesis import HealthCheck, settings

from hivewire_broker import dependents, state
from unit.broker.machine import BrokerMachine

pytestmark = pytest.mark.timeout(3600)

TestLives = BrokerMachine.TestCase
TestLives.settings = settings(
    max_examples=3_000,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    """Whatever is done step by step takes several of them."""
    monkeypatch.setattr(dependents, "REVIEWED_MAX", 2)
    monkeypatch.setattr(state, "RELEASED_MAX", 1)
