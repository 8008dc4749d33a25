"""Properties of the broker that hold in every life of a hive."""

import pytest
from hypothesis import HealthCheck, settings

from hivewire_broker import dependents, state
from unit.broker.machine import BrokerMachine

TestBroker = BrokerMachine.TestCase
TestBroker.settings = settings(
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    """Whatever is done step by step takes several of them."""
    monkeypatch.setattr(dependents, "REVIEWED_MAX", 2)
    monkeypatch.setattr(state, "RELEASED_MAX", 1)
