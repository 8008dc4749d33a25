"""Properties of the broker that hold in every life of a hive."""

from hypothesis import HealthCheck, settings

from unit.broker.machine import BrokerMachine

TestBroker = BrokerMachine.TestCase
TestBroker.settings = settings(
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
